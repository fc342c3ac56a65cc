"""Budgets and limits: what may be spent, what is charged."""
