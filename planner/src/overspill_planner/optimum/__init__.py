"""What a clairvoyant would pay: the bound that every policy is measured by."""
