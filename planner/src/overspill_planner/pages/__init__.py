"""Pages for people's browsers, each one file with all that it needs."""
