"""Backends as they are now: their connections, whether they answer, what else they are asked."""
