"""The data plane: serves the OpenAI API from local replicas and hosted APIs."""
