"""The planner: what a policy of scaling would cost and do on a trace, and how far that is from the best."""
