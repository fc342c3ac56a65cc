"""One box: ModelRoutes served by one process on one machine, without a cluster. Engines are processes."""
