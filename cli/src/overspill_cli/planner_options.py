"""Options of the commands that simulate: ``simulate``, ``plan``, ``receipt``, ``calibrate``. Not here: what they do."""

import argparse


def add_simulate(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """The command ``simulate``."""
    simulate = commands.add_parser(
        "simulate",
        help="what a ModelRoute would cost and do on a trace of requests, beside other autoscalers; needs no cluster",
        description="Sends a trace of requests through a ModelRoute in virtual time, with Overspill's own deciding, "
        "and beside it other autoscalers, fixed numbers of replicas, and what a clairvoyant would pay.",
    )
    _add_route(simulate)
    _add_trace(simulate)
    simulate.add_argument("--policy", metavar="A,B,...", help="policies to compare (default: all)")
    _add_world(simulate)
    simulate.add_argument(
        "--html", metavar="FILE", help="write a page with the table and drawings over time; one file, for any browser"
    )
    simulate.add_argument("--json", action="store_true", help="print the figures as one line of JSON, last")


def add_plan(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """The command ``plan``."""
    plan = commands.add_parser(
        "plan",
        help="what a ModelRoute would cost by GPU and hosted API, from where on a replica pays, and better settings",
        description="Simulates Overspill's scaling of a ModelRoute on a trace with other GPUs, hosted APIs and "
        "settings: costs, the break-even, and what to change, as a patch of the YAML.",
    )
    _add_route(plan)
    sources = plan.add_mutually_exclusive_group(required=True)
    sources.add_argument("--trace", metavar="FILE", help="as that of overspill simulate")
    sources.add_argument(
        "--from-prometheus", metavar="URL",
        help="draw a trace from what Prometheus has of the gateways' own metrics; needs overspill[prometheus]",
    )  # fmt: skip
    plan.add_argument(
        "--days", type=float, default=1.0, metavar="N", help="so many days until now, of Prometheus (default: 1)"
    )
    _add_demand(plan)
    plan.add_argument(
        "--against", metavar="FILE",
        help="another version of the route, such as the one in force: print what changes from it, as Markdown",
    )  # fmt: skip
    plan.add_argument("--patch", metavar="FILE", help="write the recommended patch to this file, for kubectl patch")
    _add_world(plan)


def add_receipt(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """The command ``receipt``."""
    receipt = commands.add_parser(
        "receipt",
        help="what a recorded period cost, and what it would have cost with other autoscalers or hosted APIs alone",
        description="Reads what gateways have recorded of a ModelRoute (--recording of the gateway): what it cost, its "
        "replay in the simulator, and what it would have cost otherwise.",
    )
    _add_route(receipt)
    receipt.add_argument(
        "--recording", required=True, nargs="+", metavar="FILE",
        help="files of all gateways, older ones included, also in gzip",
    )  # fmt: skip
    receipt.add_argument(
        "--policy", metavar="A,B,...",
        help="policies to compare with (default: api-only,static,hpa,kubeai,overspill,optimal)",
    )  # fmt: skip
    _add_world(receipt)
    receipt.add_argument("--json", action="store_true", help="print the figures as one line of JSON, last")


def add_calibrate(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """The command ``calibrate``."""
    calibrate = commands.add_parser(
        "calibrate",
        help="how fast your engine is, from results of vllm bench serve, as --engine of the other commands takes it",
        description="Fits the simulator's engine to results of vllm bench serve --max-concurrency N --save-result, at "
        "one and at many requests at a time, with short prompts and long ones; prints --engine, and how near a "
        "simulation of the same comes.",
    )
    calibrate.add_argument("results", nargs="+", metavar="FILE", help="JSON that vllm bench serve has written")
    calibrate.add_argument(
        "--engine", default="", metavar="KEY=NUMBER,...",
        help="what is known of it besides: batched_tokens, running, kv_tokens",
    )  # fmt: skip


def _add_route(command: argparse.ArgumentParser) -> None:
    command.add_argument("route", metavar="FILE", help="YAML with a ModelRoute")
    command.add_argument("--name", help="which ModelRoute, where the file has several")


def _add_trace(command: argparse.ArgumentParser) -> None:
    """What comes."""
    command.add_argument(
        "--trace", required=True, metavar="FILE",
        help="CSV or JSONL, also in gzip: seconds,prompt_tokens,output_tokens, or one of Azure, Mooncake or ServeGen",
    )  # fmt: skip
    _add_demand(command)


def _add_demand(command: argparse.ArgumentParser) -> None:
    """What becomes of it."""
    command.add_argument("--scale", type=float, default=1.0, metavar="N", help="times its demand (default: 1)")
    command.add_argument("--lengths", metavar="FILE", help="a trace whose lengths a trace of rates takes")


def _add_world(command: argparse.ArgumentParser) -> None:
    """What a route's YAML does not say."""
    command.add_argument(
        "--begins", default="1970-01-05T00:00Z", metavar="TIME",
        help="when the trace begins, for windows of hours (default: %(default)s, a Monday; of a recording: as it did)",
    )  # fmt: skip
    command.add_argument("--seed", type=int, default=1, help="of all chance (default: 1)")
    command.add_argument(
        "--engine", default="", metavar="KEY=NUMBER,...", help="speed of an engine: prompt_tokens_per_second, step_ms, "
        "answer_ms, attention_us, batched_tokens, running, kv_tokens (default: by the profile's name)",
    )  # fmt: skip
    command.add_argument("--replica-usd-per-hour", type=float, metavar="USD", help="default: by the profile's name")
    command.add_argument(
        "--load-seconds", type=float, default=60.0, metavar="SECONDS",
        help="from a replica's pod running to its first request (default: %(default)g)",
    )  # fmt: skip
    command.add_argument(
        "--pod-seconds", type=float, default=2.0, metavar="SECONDS",
        help="until that pod runs (default: %(default)g; minutes where nodes are added)",
    )  # fmt: skip
    command.add_argument(
        "--load-spread", type=float, default=0.0, metavar="SIGMA",
        help="of the log-normal distributions of both around these medians (default: 0, always the same)",
    )  # fmt: skip
    command.add_argument(
        "--hosted-first-token-seconds", type=float, default=0.5, metavar="SECONDS",
        help="of hosted APIs (default: %(default)g)",
    )  # fmt: skip
    command.add_argument(
        "--hosted-token-seconds", type=float, default=0.012, metavar="SECONDS",
        help="between two tokens of hosted APIs (default: %(default)g)",
    )  # fmt: skip
