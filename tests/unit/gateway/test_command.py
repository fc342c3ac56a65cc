"""The command: settings from flags and environment, and a process that starts, serves and ends on SIGTERM."""

from __future__ import annotations

import json
import os
import resource
import signal
import ssl
import subprocess
import sys
from pathlib import Path

import pytest

from overspill_gateway.main import raise_open_files_limit, run, source_of
from overspill_gateway.settings import ListenAddress, SettingsError, read_settings
from unit.gateway.harness import GivenSource, settings

PEPPER = {"OVERSPILL_KEY_PEPPER": "p"}


def ssl_authorities() -> str:
    """Certificates that can be read: those that this Python trusts."""
    return Path(ssl.get_default_verify_paths().cafile or "/etc/ssl/certs/ca-certificates.crt").read_text()


def test_defaults_suit_a_pod() -> None:
    """Ports, namespace and identity come from where the chart puts them."""
    read = read_settings([], PEPPER | {"POD_NAME": "gateway-0", "POD_NAMESPACE": "system"})

    assert (read.listen, read.admin_listen) == (ListenAddress("::", 8080), ListenAddress("::", 9090))
    assert (read.pod_name, read.namespace, read.pepper) == ("gateway-0", "system", b"p")


def test_flags_win_over_the_environment() -> None:
    """A flag, else its variable, else the default."""
    environment = PEPPER | {
        "OVERSPILL_DRAIN_SECONDS": "7",
        "OVERSPILL_LISTEN": "127.0.0.1:1",
        "OVERSPILL_BODY_MIB_MAX": "2",
    }

    read = read_settings(["--listen", "[::1]:2"], environment)

    assert (read.listen, read.drain_seconds, read.body_bytes_max) == (ListenAddress("::1", 2), 7.0, 2 << 20)


@pytest.mark.parametrize(
    ("arguments", "environment", "told"),
    [
        ([], {}, "OVERSPILL_KEY_PEPPER"),
        (["--listen", "8080x"], PEPPER, "--listen"),
        (["--kube-client-cert", "x"], PEPPER, "go together"),
        (["--log-level", "loud"], PEPPER, "--log-level loud is none: write one of DEBUG"),
    ],
)
def test_wrong_settings_say_what_to_set(arguments: list[str], environment: dict[str, str], told: str) -> None:
    """The message names the setting."""
    with pytest.raises(SettingsError, match=told):
        read_settings(arguments, environment)


def test_the_ledger_is_a_file_or_memory() -> None:
    """None unless it is named."""
    assert read_settings([], PEPPER).ledger is None
    assert read_settings([], PEPPER | {"OVERSPILL_LEDGER": "/data/l.sqlite"}).ledger == Path("/data/l.sqlite")
    assert read_settings(["--ledger", "l"], PEPPER).ledger == Path("l")


def test_it_may_open_as_many_files_as_the_system_allows() -> None:
    """A thousand, the usual limit of a container, would be five hundred streams."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 1000), hard))
        raise_open_files_limit()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_without_a_source_it_says_which_there_are(tmp_path: Path) -> None:
    """Neither in a pod nor told where to read from."""
    with pytest.raises(SettingsError, match="--folder"):
        source_of(settings(), None)
    with pytest.raises(SettingsError, match="is not a folder"):
        source_of(settings(folder=tmp_path / "nothing"), None)


def test_the_process_starts_serves_and_ends(tmp_path: Path) -> None:
    """It logs JSON, says whether it is compiled, is ready once its folder is read; SIGTERM ends it with status 0."""
    command = [sys.executable, "-m", "overspill_gateway.main", "--folder", str(tmp_path)]
    command += ["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--drain-delay-seconds", "0"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ | PEPPER)
    try:
        assert process.stderr is not None
        first = json.loads(process.stderr.readline())
        assert (first["level"], first["message"]) == ("INFO", "listening")
        assert first["compiled"] is (os.environ.get("OVERSPILL_COMPILED") == "1")
        assert first["ts"]
        process.send_signal(signal.SIGTERM)
        rest = process.stderr.read()
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.wait()
        if process.stderr is not None:
            process.stderr.close()
    assert [json.loads(line)["message"] for line in rest.splitlines()] == ["draining", "stopped"]


def test_other_servers_signals_end_nothing(tmp_path: Path) -> None:
    """SIGHUP, SIGUSR1 and SIGUSR2 are told in the log; SIGQUIT drains as SIGTERM does."""
    command = [sys.executable, "-m", "overspill_gateway.main", "--folder", str(tmp_path)]
    command += ["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--drain-delay-seconds", "0"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ | PEPPER)
    log = process.stderr
    try:
        assert log is not None
        assert json.loads(log.readline())["message"] == "listening"
        for name in ("SIGHUP", "SIGUSR1", "SIGUSR2"):
            process.send_signal(signal.Signals[name])
            line = json.loads(log.readline())
            assert (line["message"], line["signal"]) == ("signal", name)
            assert line["effect"].startswith("nothing")
        assert process.poll() is None
        process.send_signal(signal.SIGQUIT)
        assert [json.loads(line)["message"] for line in log.read().splitlines()] == ["draining", "stopped"]
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.wait()
        if log is not None:
            log.close()


def test_the_given_source_is_a_source() -> None:
    """The harness's source has what the gateway asks for."""
    assert GivenSource().missing() is None


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({}, "No such file"),
        ({"ca": "no certificate"}, "can't be watched"),
        ({"ca": ssl_authorities(), "token": None}, "No such file"),
    ],
)
def test_a_source_that_cannot_start_ends_the_command(tmp_path: Path, files: dict[str, str | None], told: str) -> None:
    """One sentence that says what can't be used, and not a gateway that is never ready."""
    for name, text in files.items():
        if text is not None:
            (tmp_path / name).write_text(text)
    arguments = ["--kube-url", "https://127.0.0.1:1", "--kube-ca", str(tmp_path / "ca")]
    arguments += ["--kube-token-file", str(tmp_path / "token")] if "token" in files else []

    with pytest.raises(SettingsError, match=told) as caught:
        source_of(read_settings(arguments, PEPPER), None)
    assert "127.0.0.1:1" in str(caught.value)


async def test_a_source_that_ends_ends_the_process_with_its_reason() -> None:
    """Nothing would be followed any more; the ledger is closed all the same."""

    class Ending(GivenSource):
        """Fails once it runs."""

        async def run(self) -> None:
            """Fail."""
            raise RuntimeError("the disk is gone")

    assert "the disk is gone" in await run(settings(), lambda _: Ending())
