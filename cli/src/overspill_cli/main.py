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
from overspill_cli.planner_options import add_calibrate, add_plan, add_receipt, add_simulate

RELEASE_NAMESPACE = "overspill-system"
SIMULATING = ("simulate", "plan", "receipt", "calibrate")
"""Commands of the planner."""
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
    add_simulate(commands_of_top)
    add_plan(commands_of_top)
    add_receipt(commands_of_top)
    add_calibrate(commands_of_top)
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
        elif options.command in SIMULATING:
            return run_simulating(options)
        else:
            run_keys(options)
    except CommandError as error:
        print(f"overspill: {error}", file=sys.stderr)
        return 1
    except ModuleNotFoundError as error:
        package = "overspill[operator]" if options.command == "keys" else "overspill"
        if error.name == "prometheus_api_client":
            package = "overspill[prometheus]"
        print(f"overspill: {error.name} is not installed: pip install '{package}'", file=sys.stderr)
        return 1
    return 0


def run_simulating(options: argparse.Namespace) -> int:
    """Run one of the commands that simulate; the exit code."""
    # Imported late: they are above both sides, and need what the gateway's deciding needs.
    if options.command == "plan":
        from overspill_cli import planning  # noqa: PLC0415

        return planning.plan(options)
    if options.command == "receipt":
        from overspill_cli import receipts  # noqa: PLC0415

        return receipts.receipt(options)
    if options.command == "calibrate":
        from overspill_cli import calibrating  # noqa: PLC0415

        return calibrating.calibrate(options)
    from overspill_cli import simulating  # noqa: PLC0415

    return simulating.simulate(options)


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
