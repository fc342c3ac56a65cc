"""Benchmarks. Each is run by a make target and prints one JSON line last; docs/benchmarks.md quotes them."""
