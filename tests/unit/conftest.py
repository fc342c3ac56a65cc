"""What all unit tests share: how many examples a property is tried with, and a quick garbage collector."""

import gc

from hypothesis import settings

settings.register_profile("thorough", deadline=None)  # a busy machine is no counterexample
settings.register_profile("quick", settings.get_profile("thorough"), max_examples=10)
settings.load_profile("thorough")

gc.disable()  # while everything is imported and collected, hardly anything of which is garbage


def pytest_collection_finish() -> None:
    """What was imported and collected lives as long as the run: no garbage collection looks through it again."""
    gc.freeze()
    gc.enable()
