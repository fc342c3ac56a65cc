"""Real vLLM and real clients around a gateway process, on loopback, without a cluster."""
