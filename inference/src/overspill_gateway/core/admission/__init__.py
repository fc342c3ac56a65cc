"""Who serves a request next, who waits, and who goes when a replica has room."""
