"""Routes as they are now, and the catalog of all that is known."""
