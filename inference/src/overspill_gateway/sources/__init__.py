"""Where routes, consumers and replicas come from: a Kubernetes API server or a folder."""
