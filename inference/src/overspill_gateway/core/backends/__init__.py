"""Backends as deciding knows them: replicas and hosted APIs, how each has fared."""
