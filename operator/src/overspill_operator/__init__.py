"""The control plane: turns ModelRoutes into engines, compiled routes and replica counts."""
