"""What requests cost and may cost: budgets with their ledger, limits, the price of hosted APIs."""
