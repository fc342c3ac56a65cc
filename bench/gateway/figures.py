"""From what was measured to the figures that are printed: medians, ratios of the same round, and the bars."""

from collections.abc import Mapping
from statistics import median
from typing import Any, Final

from bench.gateway.comparison import Comparison, Series

OURS: Final = ("overspill", "overspill-hosted")
UNITS: Final = (
    ("plain", "request"),
    ("differing", "differing_request"),
    ("stream", "chunk"),
    ("many_streams", "chunk_100_streams"),
)
"""What a series has of each round, and what its cost is for."""
MB_MAX: Final = 400.0
_QUIET_CORES: Final = 0.15
_QUIET_STEAL_PERCENT: Final = 2.0


def summary(comparison: Comparison) -> dict[str, Any]:
    """The object that is printed."""
    gateways: dict[str, Any] = {name: _figures(series) for name, series in comparison.series.items()}
    ratios = _ratios(comparison.series)
    if OURS[1] in gateways and "error" not in gateways[OURS[1]] and "error" not in gateways[OURS[0]]:
        gateways["overspill-local"] = gateways[OURS[0]]
        gateways[OURS[0]] = _dearer(gateways["overspill-local"], gateways[OURS[1]])
    noise = [one for series in comparison.series.values() for one in series.noise]
    quiet = [one.foreign_cores < _QUIET_CORES and one.steal_percent < _QUIET_STEAL_PERCENT for one in noise]
    return {
        "gateways": gateways,
        "ratios": ratios,
        "bars": _bars(gateways, ratios),
        "direct": {
            "latency_us_p50": _median(comparison.direct_p50),
            "latency_us_p99": _median(comparison.direct_p99),
        },
        "noise": {
            "foreign_cores_median": round(median(one.foreign_cores for one in noise), 2) if noise else None,
            "foreign_cores_max": round(max(one.foreign_cores for one in noise), 2) if noise else None,
            "steal_percent_max": round(max(one.steal_percent for one in noise), 1) if noise else None,
            "quiet_spans_percent": round(100 * sum(quiet) / len(quiet)) if quiet else None,
        },
        "rounds": comparison.rounds,
        "overspill_requests_spilled": comparison.spilled,
    }


COLUMNS: Final = (
    ("version", "version"),
    ("CPU us/request", "cpu_us_per_request"),
    ("if they differ", "cpu_us_per_differing_request"),
    ("us/chunk, 20 streams", "cpu_us_per_chunk"),
    ("us/chunk, 100 streams", "cpu_us_per_chunk_100_streams"),
    ("chunk's way us, p50", "chunk_latency_us_p50"),
    ("p99", "chunk_latency_us_p99"),
    ("added p50 us", "added_latency_us_p50"),
    ("added p99 us", "added_latency_us_p99"),
    ("requests/s, one core", "requests_per_second_one_core"),
    ("MB at 10,000 streams", "mb_per_10000_streams"),
)


def table(printed: Mapping[str, Any]) -> str:
    """The figures for people, as Markdown."""
    rows = ["| gateway | " + " | ".join(title for title, _ in COLUMNS) + " |", "|---" * (len(COLUMNS) + 1) + "|"]
    for name, figures in printed["gateways"].items():
        shown = figures | {"version": figures["error"]} if "error" in figures else figures
        cells = [str(shown.get(key, "-")).replace("\n", " ") for _, key in COLUMNS]
        rows.append(f"| {name} | " + " | ".join(cells) + " |")
    titles = ["overspill's CPU over that of", "per request", "(rounds)", "if they differ", "(rounds)"]
    titles += ["per chunk, 20 streams", "per chunk, 100"]
    rows += ["", "| " + " | ".join(titles) + " |", "|---" * len(titles) + "|"]
    for name, ratio in printed["ratios"].items():
        values: list[Any] = []
        for unit in ("request", "differing_request"):
            values += [ratio[f"cpu_per_{unit}"], " to ".join(map(str, ratio[f"cpu_per_{unit}_range"] or ()))]
        values += [ratio["cpu_per_chunk"], ratio["cpu_per_chunk_100_streams"]]
        rows.append(f"| {name} | " + " | ".join(map(str, values)) + " |")
    rows += ["", *(f"- {bar}: {'not measured' if held is None else held}" for bar, held in printed["bars"].items())]
    return "\n".join(rows)


def _figures(series: Series) -> dict[str, Any]:
    plain, stream = series.plain.values(), series.stream.values()
    figures: dict[str, Any] = {"version": series.version}
    if not plain:
        return figures | {"error": "; ".join(series.errors[:2]) or "not measured"}
    figures |= {
        "cpu_us_per_request": _median(cost.cpu_us for cost in plain),
        "cpu_us_per_request_min": round(min(cost.cpu_us for cost in plain), 1),
        "cpu_us_per_differing_request": _median(cost.cpu_us for cost in series.differing.values()),
        "cpu_us_per_chunk": _median(cost.cpu_us for cost in stream),
        "cpu_us_per_chunk_min": round(min((cost.cpu_us for cost in stream), default=0.0), 1),
        "cpu_us_per_chunk_100_streams": _median(cost.cpu_us for cost in series.many_streams.values()),
        "chunk_latency_us_p50": _median(cost.event_p50_us for cost in stream),
        "chunk_latency_us_p99": _median(cost.event_p99_us for cost in stream),
        "cpu_percent_in_kernel": round(100 * series.system_share),
        "added_latency_us_p50": _median(series.added_p50.values()),
        "added_latency_us_p99": _median(series.added_p99.values()),
        "requests_per_second_one_core": _median(cost.per_second for cost in plain),
        "cores_at_most_requests": _median((cost.cores for cost in plain), 2),
    }
    held = series.held
    if held is not None:
        figures |= {
            "mb_per_10000_streams": round(held.mb_per_10000, 1),
            "mb_idle": round(held.idle_mb, 1),
            "mb_measured_with_streams": held.streams,
            "mb_streams_broken": held.broken,
        }
    if series.errors:
        figures["errors"] = series.errors[:3]
    return figures


def _dearer(local: dict[str, Any], hosted: dict[str, Any]) -> dict[str, Any]:
    """Figure by figure the worse of the two ways through the gateway."""
    both: dict[str, Any] = dict(local)
    for name in (
        "cpu_us_per_request",
        "cpu_us_per_differing_request",
        "cpu_us_per_chunk",
        "cpu_us_per_chunk_100_streams",
        "chunk_latency_us_p50",
        "chunk_latency_us_p99",
        "added_latency_us_p50",
        "added_latency_us_p99",
    ):
        values = [figure for figure in (local[name], hosted[name]) if figure is not None]
        both[name] = max(values) if values else None
    for name in ("cpu_us_per_request_min", "cpu_us_per_chunk_min"):
        both[name] = max(local[name], hosted[name])
    both["requests_per_second_one_core"] = min(
        local["requests_per_second_one_core"], hosted["requests_per_second_one_core"]
    )
    return both


def _ratios(all_series: Mapping[str, Series]) -> dict[str, dict[str, Any]]:
    """Overspill's cost over each other's, median of the rounds in which both were measured; the dearer way counts."""
    ours = [all_series[name] for name in OURS if name in all_series and all_series[name].plain]
    ratios: dict[str, dict[str, Any]] = {}
    for name, other in all_series.items():
        if name in OURS or not ours or not other.plain:
            continue
        ratios[name] = {}
        for what, unit in UNITS:
            by_way = [
                [
                    getattr(way, what)[number].cpu_us / cost.cpu_us
                    for number, cost in getattr(other, what).items()
                    if number in getattr(way, what)
                ]
                for way in ours
            ]
            dearer = max((one for one in by_way if one), key=median, default=[])
            ratios[name][f"cpu_per_{unit}"] = _median(dearer, 4)
            ratios[name][f"cpu_per_{unit}_range"] = [round(min(dearer), 4), round(max(dearer), 4)] if dearer else None
    return ratios


def _bars(gateways: Mapping[str, Any], ratios: Mapping[str, Any]) -> dict[str, bool | None]:
    """What has to hold; None: one of the two was not measured."""

    def at_most(value: float | None, bound: float | None) -> bool | None:
        return None if value is None or bound is None else value <= bound

    def ratio(name: str, what: str) -> float | None:
        found: float | None = ratios.get(name, {}).get(what)
        return found

    ours, envoy = gateways.get(OURS[0], {}), gateways.get("envoy", {})
    bars: dict[str, bool | None] = {}
    for cost in ("cpu_per_request", "cpu_per_differing_request"):
        bars |= {
            f"{cost}_at_most_0.6_of_envoy": at_most(ratio("envoy", cost), 0.6),
            f"{cost}_below_vllm_router": at_most(ratio("vllm-router", cost), 0.9999),
            f"{cost}_at_most_0.01_of_litellm": at_most(ratio("litellm", cost), 0.01),
        }
    return bars | {
        "cpu_per_chunk_at_most_0.8_of_envoy": at_most(ratio("envoy", "cpu_per_chunk"), 0.8),
        "added_latency_p50_below_envoy": at_most(ours.get("added_latency_us_p50"), envoy.get("added_latency_us_p50")),
        "added_latency_p99_below_envoy": at_most(ours.get("added_latency_us_p99"), envoy.get("added_latency_us_p99")),
        "10000_streams_below_400_mb": at_most(ours.get("mb_per_10000_streams"), MB_MAX),
    }


def _median(values: Any, digits: int = 1) -> float | None:
    known = list(values)
    return round(median(known), digits) if known else None
