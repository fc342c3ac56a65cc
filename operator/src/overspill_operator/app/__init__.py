"""Driving: the queue, the reconcile of one object, scaling, status. ``core`` decides, ``adapters`` talk."""
