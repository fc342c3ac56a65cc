"""What a machine's engines and documents are made of, and the loops that carry it out."""
