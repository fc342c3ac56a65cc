"""Processes of the gateway that do what its event loop must not wait for."""
