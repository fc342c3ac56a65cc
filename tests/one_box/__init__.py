"""`overspill serve` on this machine with real engines: `make try`, and tests."""
