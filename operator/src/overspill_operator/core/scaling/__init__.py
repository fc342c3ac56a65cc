"""How many replicas a route has, and why: rules, what is remembered of each route, hours with bounds of their own."""
