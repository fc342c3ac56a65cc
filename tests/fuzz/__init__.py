"""Fuzzing of what reads bytes from outside: requests, backends' answers, streams of events.

``python -m tests.fuzz requests --seconds 60`` looks for inputs by what they reach in the code.
"""
