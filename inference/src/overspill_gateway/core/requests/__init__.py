"""Requests of clients: who may send them, what their bodies say, what that can cost at most."""
