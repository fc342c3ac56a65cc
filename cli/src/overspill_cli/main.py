"""``overspill``: what is typed beside kubectl and helm. Arguments in, exit code out; the work is in other modules."""

import argparse
import importlib.metadata
import os
import sys
from collections.abc import Sequence

from overspill_cli import commands
from overspill_cli.cluster import Cluster, KubernetesCluster
from overspill_cli.errors import CommandError
from overspill_cli.pepper import WAIT_SECONDS

RELEASE_NAMESPACE = "overspill-system"
PEPPER_SECRET = "overspill-key-pepper"  # noqa: S105  the name of a Secret


def parser() -> argparse.ArgumentParser:
    """Read the command line."""
    top = argparse.ArgumentParser(prog="overspill", description="Overspill beside kubectl and helm.")
    commands_of_top = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands_of_top.add_parser("version", help="print the version")
    check = commands_of_top.add_parser(
        "check",
        help="say everything that is wrong with ModelRoutes and Consumers in files; needs no cluster",
        description="Say everything that is wrong with the ModelRoutes and Consumers in files, each with its line. "
        "It needs no cluster, so it does not know profiles, Secrets and the names of other routes there.",
    )
    check.add_argument(
        "files", nargs="+", metavar="FILE", help="YAML or JSON, with other objects in it or not; -: standard input"
    )
    add_serve(commands_of_top)
    _add_simulate(commands_of_top)
    keys = commands_of_top.add_parser("keys", help="API keys for the gateway")
    actions = keys.add_subparsers(dest="action", required=True, metavar="ACTION")

    cluster = argparse.ArgumentParser(add_help=False)
    cluster.add_argument("--context", help="context of the kubeconfig (default: the current one)")
    cluster.add_argument("-n", "--namespace", help="namespace of the Consumer (default: the context's)")
    cluster.add_argument(
        "--local", action="store_true", help="of overspill serve on this machine, rather than of a cluster"
    )
    cluster.add_argument("--state", metavar="DIR", help="its state directory, with --local (default: the user's)")

    create = actions.add_parser(
        "create",
        parents=[cluster],
        help="make a key and print it once",
        description="Make an API key for a Consumer, which is created if there is none, and print the key, once, to "
        "standard output. Only its keyed hash is kept.",
    )
    create.add_argument("name", metavar="NAME", help="name of the Consumer")
    create.add_argument(
        "--route",
        action="append",
        default=[],
        metavar="[NAMESPACE/]NAME",
        help="a ModelRoute that it may call, can be repeated (default: every route of its namespace)",
    )
    create.add_argument(
        "--release-namespace",
        default=os.environ.get("POD_NAMESPACE", RELEASE_NAMESPACE),
        help="namespace where Overspill is installed (default: %(default)s)",
    )
    create.add_argument(
        "--pepper-secret",
        default=os.environ.get("OVERSPILL_KEY_PEPPER_SECRET", PEPPER_SECRET),
        help="Secret with the pepper of the keys' hashes, in that namespace (default: %(default)s)",
    )

    create.add_argument(
        "--create-namespace", action="store_true", help="make the Consumer's namespace where it is not there"
    )

    create.add_argument(
        "--wait-seconds",
        type=float,
        default=WAIT_SECONDS,
        metavar="SECONDS",
        help="how long to wait for that Secret, which the operator makes when it first starts (default: %(default)g)",
    )

    listing = actions.add_parser("list", parents=[cluster], help="list Consumers and the ids of their keys")
    listing.add_argument("-A", "--all-namespaces", action="store_true", help="of all namespaces")

    revoke = actions.add_parser(
        "revoke",
        parents=[cluster],
        help="take a key away",
        description="Take a key away from a Consumer: gateways refuse it within a second or two.",
    )
    revoke.add_argument("name", metavar="NAME", help="name of the Consumer")
    revoke.add_argument("key", metavar="KEY", help="the key's id (see overspill keys list) or the whole key")
    return top


def add_serve(commands_of_top: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """The options of ``overspill serve``."""
    serve = commands_of_top.add_parser(
        "serve",
        help="serve ModelRoutes from files on this machine, without a cluster",
        description="Serve the ModelRoutes of YAML files on this machine: the same gateway and autoscaler as in a "
        "cluster, with engines as processes. Files are read again when they change.",
    )
    add = serve.add_argument
    add(
        "files",
        nargs="*",
        metavar="FILE",
        help="YAML or JSON with ModelRoutes, Consumers, Secrets; or a folder of files",
    )
    add("--listen", default="127.0.0.1:8080", metavar="HOST:PORT", help="address of the API (default: %(default)s)")
    add(
        "--admin-listen",
        metavar="HOST:PORT",
        help="address of status and metrics (default: 127.0.0.1:9090, or any free port)",
    )
    add("--state", metavar="DIR", help="folder for budgets, keys and logs (default: $XDG_STATE_HOME/overspill)")
    add(
        "--profiles",
        metavar="FILE",
        help="profiles as in the chart's values (default: any name means this machine's vLLM)",
    )
    add("--secrets", metavar="DIR", help="folder with Secrets that routes name, as DIR/<name>/<key>")
    add(
        "--memory",
        metavar="SIZE",
        help="memory for engines, such as 24Gi (default: one engine at a time)",
    )
    add(
        "--vllm",
        metavar="PATH",
        help="the program vllm, or its virtual environment; cpu or gpu: one that is made when an engine needs it "
        "(default: OVERSPILL_VLLM, PATH, this Python's packages, else one that is made)",
    )
    add("--prepare", action="store_true", help="make the environment for vLLM now, if need be, and end")
    add("--no-auth", action="store_true", help="ask for no API key; only with a loopback address to listen on")
    add(
        "--cors-origins",
        default="",
        metavar="ORIGINS",
        help="origins whose pages may call, with commas (default: none)",
    )
    keeping = serve.add_mutually_exclusive_group()
    keeping.add_argument(
        "--keep-engines", action="store_true", default=None, dest="keep_engines",
        help="engines outlive this process for two minutes, for the next one (default under systemd)")  # fmt: skip
    keeping.add_argument("--end-engines", action="store_false", dest="keep_engines", help="engines end with it")
    add("--log-level", default="INFO", metavar="LEVEL", help="DEBUG, INFO, WARNING or ERROR (default: %(default)s)")
    add("--status", action="store_true", help="print how the routes of the running serve fare, and end")
    add("--print-unit", action="store_true", help="print a systemd unit for these options, and end")


def _add_simulate(commands_of_top: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """The command ``simulate``."""
    simulate = commands_of_top.add_parser(
        "simulate",
        help="what a ModelRoute would cost and do on a trace of requests, beside other autoscalers; needs no cluster",
        description="Sends a trace of requests through a ModelRoute in virtual time, with Overspill's own deciding, "
        "and beside it other autoscalers, fixed numbers of replicas, and what a clairvoyant would pay.",
    )
    simulate.add_argument("route", metavar="FILE", help="YAML with a ModelRoute")
    simulate.add_argument(
        "--trace", required=True, metavar="FILE",
        help="CSV or JSONL, also in gzip: seconds,prompt_tokens,output_tokens, or one of Azure, Mooncake or ServeGen",
    )  # fmt: skip
    simulate.add_argument("--name", help="which ModelRoute, where the file has several")
    simulate.add_argument("--scale", type=float, default=1.0, metavar="N", help="times its demand (default: 1)")
    simulate.add_argument("--lengths", metavar="FILE", help="a trace whose lengths a trace of rates takes")
    simulate.add_argument("--policy", metavar="A,B,...", help="policies to compare (default: all)")
    simulate.add_argument(
        "--begins", default="1970-01-05T00:00Z", metavar="TIME",
        help="when the trace begins, for windows of hours (default: %(default)s, a Monday)",
    )  # fmt: skip
    simulate.add_argument("--seed", type=int, default=1, help="of all chance (default: 1)")
    simulate.add_argument(
        "--engine", default="", metavar="KEY=NUMBER,...", help="speed of an engine: prompt_tokens_per_second, step_ms, "
        "answer_ms, attention_us, batched_tokens, running, kv_tokens (default: by the profile's name)",
    )  # fmt: skip
    simulate.add_argument("--replica-usd-per-hour", type=float, metavar="USD", help="default: by the profile's name")
    simulate.add_argument(
        "--load-seconds", type=float, default=60.0, metavar="SECONDS",
        help="from a replica's pod running to its first request (default: %(default)g)",
    )  # fmt: skip
    simulate.add_argument(
        "--pod-seconds", type=float, default=2.0, metavar="SECONDS",
        help="until that pod runs (default: %(default)g; minutes where nodes are added)",
    )  # fmt: skip
    simulate.add_argument(
        "--hosted-first-token-seconds", type=float, default=0.5, metavar="SECONDS",
        help="of hosted APIs (default: %(default)g)",
    )  # fmt: skip
    simulate.add_argument(
        "--hosted-token-seconds", type=float, default=0.012, metavar="SECONDS",
        help="between two tokens of hosted APIs (default: %(default)g)",
    )  # fmt: skip
    simulate.add_argument(
        "--html", metavar="FILE", help="write a page with the table and drawings over time; one file, for any browser"
    )
    simulate.add_argument("--json", action="store_true", help="print the figures as one line of JSON, last")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 0 when it did what was asked."""
    options = parser().parse_args(arguments)
    try:
        if options.command == "version":
            print(importlib.metadata.version("overspill"))
        elif options.command == "check":
            # Imported late: YAML is no part of the smallest installation.
            from overspill_cli import checking  # noqa: PLC0415

            return checking.check(options.files)
        elif options.command == "serve":
            # Imported late: the other commands need nothing of it.
            from overspill_box import commands as serving  # noqa: PLC0415

            return serving.serve(options)
        elif options.command == "simulate":
            # Imported late: it is above both sides, and needs what the gateway's deciding needs.
            from overspill_cli import simulating  # noqa: PLC0415

            return simulating.simulate(options)
        else:
            run_keys(options)
    except CommandError as error:
        print(f"overspill: {error}", file=sys.stderr)
        return 1
    except ModuleNotFoundError as error:
        extra = "planner" if options.command == "simulate" else "operator"
        print(f"overspill: {error.name} is not installed: pip install 'overspill[{extra}]'", file=sys.stderr)
        return 1
    return 0


def run_keys(options: argparse.Namespace) -> None:
    """Run one of ``overspill keys``."""
    cluster = _consumers(options)
    namespace = options.namespace or cluster.namespace
    if options.action == "create":
        commands.create_key(
            cluster,
            name=options.name,
            namespace=namespace,
            routes=options.route,
            release_namespace=options.release_namespace,
            pepper_secret=options.pepper_secret,
            create_namespace=options.create_namespace,
            wait_seconds=options.wait_seconds,
        )
    elif options.action == "list":
        commands.list_keys(cluster, None if options.all_namespaces else namespace)
    else:
        commands.revoke_key(cluster, name=options.name, namespace=namespace, key=options.key)


def _consumers(options: argparse.Namespace) -> Cluster:
    """Where Consumers are."""
    if options.local or options.state:
        # Imported late: the other commands need nothing of it.
        from overspill_cli.local_consumers import LocalConsumers  # noqa: PLC0415

        return LocalConsumers(options.state)
    return KubernetesCluster(options.context)


if __name__ == "__main__":
    sys.exit(main())
