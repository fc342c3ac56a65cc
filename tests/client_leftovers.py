"""For tests with SDKs of others, whose clients close their connections only when they are collected, in any order."""

import gc
import warnings

import pytest


@pytest.hookimpl(tryfirst=True)
def pytest_unconfigure() -> None:
    """Collect them before pytest does, which takes a socket that goes before its client for a fault of a test."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        for _ in range(3):
            gc.collect()
