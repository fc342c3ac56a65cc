"""The Kopf handlers: the only place that knows Kopf."""
