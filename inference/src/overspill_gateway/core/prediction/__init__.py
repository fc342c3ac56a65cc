"""How long replicas take to a first token, learned from what they took, and what follows for targets."""
