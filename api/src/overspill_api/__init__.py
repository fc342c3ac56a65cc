"""Types that the control plane and the data plane share: the API objects and the two contracts between them.

No I/O, no clock, no randomness here: parsing, checking and encoding only.
"""
