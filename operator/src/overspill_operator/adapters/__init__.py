"""Talking: the API server, gateways, engines, the process's own HTTP port."""
