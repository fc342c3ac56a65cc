"""The admin port: health, readiness, metrics, and the stream of demand for the operator."""
