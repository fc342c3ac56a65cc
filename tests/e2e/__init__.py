"""End-to-end tests on a cluster with real pods, and the demo, which is the same scenario told to a person."""
