"""Traces of requests: reading files of several forms, scaling what they demand, and making some by chance."""
