"""The two tiers of unit tests: what `make test-unit` tries at each change, and what `make test` tries beside it."""

from __future__ import annotations

import pytest


def exhaustively(*values: object) -> list[object]:
    """Values of a parameter that belong to the exhaustive tier: what they would find, the others nearly always do."""
    return [pytest.param(value, marks=pytest.mark.exhaustive) for value in values]
