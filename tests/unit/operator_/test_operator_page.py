"""The page on the operator is complete: every metric, condition and reason that there is."""

import re
from pathlib import Path

from overspill_api.status import ConditionType
from overspill_operator import __file__ as package
from overspill_operator.adapters.telemetry import REGISTRY
from overspill_operator.core.faults import FaultReason
from overspill_operator.core.scaling.autoscaler import Reason, Signal
from overspill_operator.core.status_changes import NORMAL_LIFE

SOURCE = Path(package).parent
PAGE = (Path(__file__).parents[3] / "docs" / "reference" / "operator.md").read_text()
STATEMENT = re.compile(r'\b(?:true|false|unknown)\(\s*[\w.]+, "([A-Za-z]+)"')
EVENT = re.compile(r'\breason="([A-Z][A-Za-z]+)"')


def missing(names: set[str]) -> set[str]:
    """Names that the page does not have."""
    return {name for name in names if f"`{name}`" not in PAGE}


def test_every_metric_is_there() -> None:
    """By its name as Prometheus has it, and none that is not."""
    names = set()
    for metric in REGISTRY.collect():
        names.add(f"{metric.name}_total" if metric.type == "counter" else metric.name)
    assert missing(names) == set()
    assert set(re.findall(r"`(overspill_operator_\w+)`", PAGE)) == names


def test_every_condition_and_reason_is_there() -> None:
    """Those of types, and those that stand in the source."""
    found: set[str] = set()
    for path in SOURCE.rglob("*.py"):
        text = path.read_text()
        found |= {*STATEMENT.findall(text), *EVENT.findall(text)}
    assert len(found) > 20
    enumerated = {*ConditionType, *FaultReason, *Reason, *Signal, *NORMAL_LIFE}
    assert missing({str(name) for name in enumerated} | found) == set()
