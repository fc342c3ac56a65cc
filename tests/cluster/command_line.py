"""The commands that people and Makefiles call. Each is a few lines over a module that does the work."""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from cluster import binaries, health, images, lifecycle, machine, processes
from cluster.image_store import CommandImage, ImageStore, prepare
from cluster.places import DEFAULT_NAME, SOURCES, Places, cache_folder
from cluster.plan import MARK
from cluster.supervisor import supervise

EXAMPLES = """examples:
  python3 tests/cluster up                          start the cluster, or make sure that it is well
  eval "$(python3 tests/cluster env)"               KUBECONFIG and PATH for kubectl and helm of its version
  python3 tests/cluster images                      build the project's images and load them
  python3 tests/cluster gpu-nodes 4 --gpus 8        four nodes that kwok plays, with 8 GPUs each
  python3 tests/cluster run -- curl 192.0.2.2:30080 run a command in the cluster's network
  python3 tests/cluster down                        end it and leave nothing behind
"""


def main(arguments: list[str]) -> int:
    """Run one command; its exit status."""
    # What runs inside the cluster comes first: it has its own, fixed form.
    if arguments[:1] == ["supervise"]:
        supervise(Path(arguments[1]), until_input_ends="--until-input-ends" in arguments)
        return 0
    if arguments[:1] == ["prepare-store"]:
        root, folder, *commands = arguments[1:]
        pairs = [command.split("=", 1) for command in commands]
        prepare(Path(root), Path(folder), [CommandImage(name, Path(binary)) for name, binary in pairs])
        return 0
    parsed = _parser().parse_args(arguments)
    try:
        return int(parsed.run(parsed) or 0)
    except (machine.LackingError, health.NotRunningError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
    except (RuntimeError, TimeoutError) as error:
        print(f"error: {error}\nthe logs are in {_places(parsed).logs}", file=sys.stderr)
    except BrokenPipeError:  # whoever read the output has seen enough, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
    return 1


def _parser() -> argparse.ArgumentParser:
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--name", default=DEFAULT_NAME, help="which cluster (default: %(default)s)")
    parser = argparse.ArgumentParser(
        prog="python3 tests/cluster",
        description="A real Kubernetes on one machine, without Docker.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    up = commands.add_parser("up", parents=[shared], help="start the cluster, or repair it")
    up.add_argument("--api-port", type=int, help="port of 127.0.0.1 for the API server (default: 16443 if free)")
    up.add_argument(
        "--gateway-port", type=int, help="port of 127.0.0.1 that leads to NodePort 30080 (default: 8080 if free)"
    )
    up.add_argument(
        "--fast-controllers",
        action=argparse.BooleanOptionalAction,
        help="raise the controllers' and the scheduler's request limits to 500/1000 a second, for scale tests",
    )
    up.add_argument(
        "--with-images",
        action="store_true",
        help="also build the project's images, while the binaries are built, and load them",
    )
    up.add_argument("--gpu-nodes", type=int, default=0, metavar="N", help="also have N nodes that kwok plays")
    up.add_argument("--gpus-per-node", type=int, default=8, metavar="M", help="nvidia.com/gpu of each (default: 8)")
    up.set_defaults(run=_up)

    down = commands.add_parser("down", parents=[shared], help="end the cluster; images stay cached")
    down.set_defaults(run=_down)
    clean = commands.add_parser("clean", help="delete all that is cached: binaries, images, what tests installed")
    clean.set_defaults(run=_clean, name=DEFAULT_NAME)
    status = commands.add_parser("status", parents=[shared], help="what runs; exit status 1 if something is wrong")
    status.set_defaults(run=_status)
    build = commands.add_parser("build", parents=[shared], help="build the binaries that are not cached")
    build.add_argument("--with-images", action="store_true", help="and the project's images, side by side")
    build.set_defaults(run=_build)
    compiled = commands.add_parser("compiled-dir", help="print the folder with what the gateway's image compiled")
    compiled.set_defaults(run=_compiled_dir)
    bin_dir = commands.add_parser("bin-dir", parents=[shared], help="print the folder with kubectl and helm")
    bin_dir.set_defaults(run=_bin_dir)
    kubeconfig = commands.add_parser("kubeconfig", parents=[shared], help="print the kubeconfig's path, running or not")
    kubeconfig.set_defaults(run=_kubeconfig)
    gateway = commands.add_parser("gateway-url", parents=[shared], help="print the host's address of NodePort 30080")
    gateway.set_defaults(run=_gateway_url)
    env = commands.add_parser("env", parents=[shared], help="print export lines for a shell")
    env.set_defaults(run=_env)

    images = commands.add_parser("images", parents=[shared], help="build the project's images and load them")
    images.add_argument("images", nargs="*", metavar="IMAGE", help="default: all")
    images.add_argument("--build-only", action="store_true", help="do not load them")
    images.set_defaults(run=_images)

    nodes = commands.add_parser("gpu-nodes", parents=[shared], help="have this many nodes that kwok plays")
    nodes.add_argument("nodes", type=int)
    nodes.add_argument("--gpus", type=int, default=8, help="nvidia.com/gpu of each (default: %(default)s)")
    nodes.set_defaults(run=_gpu_nodes)

    forward = commands.add_parser(
        "forward", parents=[shared], help="lead a host port to an address inside, until Ctrl-C"
    )
    forward.add_argument("port", type=int, help="port of 127.0.0.1; 0: a free one")
    forward.add_argument("target", help="ADDRESS:PORT in the cluster, such as a Service's")
    forward.set_defaults(run=_forward)

    run = commands.add_parser("run", parents=[shared], help="run a command in the cluster's network namespace")
    run.add_argument("command", nargs=argparse.REMAINDER)
    run.set_defaults(run=_run)
    return parser


def _places(parsed: argparse.Namespace) -> Places:
    return Places(parsed.name, cache_folder())


def _up(parsed: argparse.Namespace) -> None:
    machine.prepare_cluster()
    with _images_meanwhile(parsed) if parsed.with_images else contextlib.nullcontext():
        _start(parsed)
    if parsed.with_images:
        _load_images(_places(parsed), images.images_named([]))


@contextlib.contextmanager
def _images_meanwhile(parsed: argparse.Namespace) -> Iterator[None]:
    """Build the images beside what the block does: one waits for downloads and disks while the other compiles."""
    machine.prepare_images()
    command = [sys.executable, str(SOURCES), "images", "--build-only", "--name", parsed.name]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL) as builder:
        try:
            yield
        except BaseException:
            builder.terminate()
            raise
    if builder.returncode:
        raise RuntimeError("the images could not be built; what was wrong is said above")


def _start(parsed: argparse.Namespace) -> None:
    places, started = _places(parsed), time.monotonic()
    built = binaries.ensure(places.cache)
    building = time.monotonic() - started
    wanted = lifecycle.Wanted(parsed.api_port, parsed.gateway_port, parsed.fast_controllers)
    anew = lifecycle.up(places, built, wanted)
    if parsed.gpu_nodes:
        lifecycle.set_gpu_nodes(places, _with_kwok(places), parsed.gpu_nodes, parsed.gpus_per_node)
    seconds = time.monotonic() - started - building
    did = f"started in {seconds:.1f} s" if anew else f"was running, checked in {seconds:.1f} s"
    access = health.access(places)
    print(f"cluster {places.name}: {did}; end it with `down`")
    print(f"  runs        {', '.join(health.components(places))}")
    print(f"  kubeconfig  {access.kubeconfig}")
    print(f"  API server  {access.api_url}")
    print(f"  NodePort {lifecycle.GATEWAY_NODE_PORT}  {access.gateway_url}")
    print(f"  kubectl, helm in {places.cache / 'bin'}; logs in {places.logs}")


def _down(parsed: argparse.Namespace) -> None:
    places, started = _places(parsed), time.monotonic()
    ended = lifecycle.down(places)
    did = f"ended {ended} processes in {time.monotonic() - started:.1f} s" if ended else "nothing was running"
    print(f"cluster {places.name}: {did}; images stay in {places.image_store}, logs in {places.logs}")


def _clean(_: argparse.Namespace) -> None:
    cache = cache_folder()
    print(
        f"{lifecycle.clean(cache) / 1e9:.1f} GB deleted in {cache}; `go clean -cache -modcache` clears Go's own caches"
    )


def _status(parsed: argparse.Namespace) -> int:
    places = _places(parsed)
    running = processes.of_cluster(places.state)
    if not running:
        print(f"cluster {places.name}: not running")
        return 1
    for name, component in health.components(places).items():
        state = "runs" if component["pid"] else f"stopped with {component['lastExit']}"
        again = f", started {component['starts']} times" if (component["starts"] or 0) > 1 else ""
        print(f"  {name}: {state}{again}")
    problem = health.trouble(places)
    print(f"cluster {places.name}: {len(running)} processes, {problem or 'well'}; kubeconfig {places.kubeconfig}")
    return 1 if problem else 0


def _build(parsed: argparse.Namespace) -> None:
    machine.prepare_control_plane()
    with _images_meanwhile(parsed) if parsed.with_images else contextlib.nullcontext():
        binaries.ensure(_places(parsed).cache, binaries.ALL_MODULES)
    _bin_dir(parsed)


def _compiled_dir(_: argparse.Namespace) -> None:
    print(cache_folder() / images.COMPILED)


def _bin_dir(parsed: argparse.Namespace) -> None:
    print(_places(parsed).cache / "bin")


def _kubeconfig(parsed: argparse.Namespace) -> None:
    print(_places(parsed).kubeconfig)


def _gateway_url(parsed: argparse.Namespace) -> None:
    print(health.access(_places(parsed)).gateway_url)


def _env(parsed: argparse.Namespace) -> None:
    places = _places(parsed)
    print(f"export KUBECONFIG='{places.kubeconfig}'")
    print(f"export PATH='{places.cache / 'bin'}':\"$PATH\"")


def _images(parsed: argparse.Namespace) -> None:
    places = _places(parsed)
    chosen = images.images_named(parsed.images)
    machine.prepare_images()
    if not parsed.build_only and processes.first_process(places.state) is None:
        raise health.NotRunningError(places.name)
    _load_images(places, chosen, build_only=parsed.build_only)


def _load_images(places: Places, chosen: list[images.Image], *, build_only: bool = False) -> None:
    started = time.monotonic()
    store = None if build_only else ImageStore(places.runtime_socket)
    references = images.build_and_load(places, chosen, store)
    did = "built" if build_only else f"in cluster {places.name}"
    for name, reference in references.items():
        print(f"{name}: {did} as localhost/{name}:dev, the same as {reference}")
    print(f"images: {time.monotonic() - started:.1f} s; disk: {images.disk_use(places)} in {places.cache}")


def _with_kwok(places: Places) -> binaries.Binaries:
    return binaries.ensure(places.cache, [*binaries.CLUSTER_MODULES, binaries.KWOK])


def _gpu_nodes(parsed: argparse.Namespace) -> None:
    places = _places(parsed)
    lifecycle.set_gpu_nodes(places, _with_kwok(places), parsed.nodes, parsed.gpus)
    print(f"{parsed.nodes} nodes with {parsed.gpus} GPUs each are Ready; pods need a toleration for kwok.x-k8s.io/node")


def _forward(parsed: argparse.Namespace) -> int:
    places = _places(parsed)
    command = binaries.ensure(places.cache, [binaries.NODE]).command("forward")
    with lifecycle.listen(parsed.port) as listening:
        listening.set_inheritable(True)
        print(f"127.0.0.1:{listening.getsockname()[1]} leads to {parsed.target}; Ctrl-C ends it", flush=True)
        return _inside(places, [command, f"{listening.fileno()}={parsed.target}"], (listening.fileno(),))


def _run(parsed: argparse.Namespace) -> int:
    command = parsed.command[1:] if parsed.command[:1] == ["--"] else parsed.command
    if not command:
        raise ValueError("run what? python3 tests/cluster run -- COMMAND ARGUMENT...")
    return _inside(_places(parsed), command)


def _inside(places: Places, command: list[str], descriptors: tuple[int, ...] = ()) -> int:
    """In the cluster's network, but the host's other namespaces; marked, so that `down` ends it as well."""
    first = processes.first_process(places.state)
    if first is None:
        raise health.NotRunningError(places.name)
    environment = {**os.environ, MARK: str(places.state), "KUBECONFIG": str(places.state / "admin.kubeconfig")}
    nsenter = ["nsenter", f"--net=/proc/{first.pid}/ns/net", "--", *command]
    return subprocess.run(nsenter, env=environment, pass_fds=descriptors, check=False).returncode
