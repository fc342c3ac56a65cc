"""Requests through engines, hosted APIs and a policy of scaling, in virtual time."""
