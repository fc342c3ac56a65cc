"""Autoscalers that others use, as pure functions of what they see, what they remember and the time."""
