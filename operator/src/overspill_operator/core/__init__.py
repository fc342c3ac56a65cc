"""Deciding: functions of (observation, time) to a decision. No I/O, clock, random source or logging in here."""
