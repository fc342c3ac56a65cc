"""Python environments for engines of one machine: what they are made of, and how. Standard library alone."""
