"""What the gateway decides, as functions of what it is given: no I/O, clock, random source or logging here."""
