"""What gateways and engines say of a route: read with suspicion, added up, and seen over the last minute."""
