"""Settings from the environment, and profiles from their file."""

import json
import logging
from pathlib import Path

import pytest

from overspill_operator import json_logs
from overspill_operator.profiles import Profiles
from overspill_operator.settings import Settings


def test_the_namespace_says_where_the_gateway_is() -> None:
    """Defaults follow the release's namespace; an own address wins."""
    settings = Settings.from_environment({"POD_NAMESPACE": "ai", "POD_NAME": "p"})
    assert settings.gateway_url == "http://overspill-gateway.ai"
    assert settings.port == 8081
    own = Settings.from_environment({"OVERSPILL_GATEWAY_URL": "https://llm.example/"})
    assert own.gateway_url == "https://llm.example"


def test_a_port_that_is_none_is_refused_by_its_name() -> None:
    """The message says which variable and what it should be."""
    with pytest.raises(ValueError, match="OVERSPILL_PORT is 'http'; it must be a TCP port"):
        Settings.from_environment({"OVERSPILL_PORT": "http"})


def test_profiles_are_read_again_and_a_bad_file_changes_nothing(tmp_path: Path) -> None:
    """The last good ones stay, and a change is told once."""
    path, told = tmp_path / "profiles.yaml", []
    profiles = Profiles(path, lambda: told.append(1))
    profiles.read()
    assert profiles.current() == {}
    path.write_text("cpu: {image: a}")
    profiles.read()
    profiles.read()
    assert (profiles.current()["cpu"].image, len(told)) == ("a", 1)
    for bad in ("cpu: {imaeg: a}", "cpu: [", "- cpu"):
        path.write_text(bad)
        profiles.read()
        assert profiles.current()["cpu"].image == "a"
    path.unlink()
    profiles.read()
    assert profiles.current()["cpu"].image == "a"


def test_a_log_line_is_one_object(capsys: pytest.CaptureFixture[str]) -> None:
    """With the fields that collectors look for, and the call's own."""
    root = logging.getLogger()
    before = (root.handlers[:], root.level)
    try:
        json_logs.configure("INFO")
        logging.getLogger("overspill_operator.x").info("scaled", extra={"route": "a/b"})
        line = json.loads(capsys.readouterr().err)
    finally:
        root.handlers[:], root.level = before[0], before[1]
    assert line["ts"]
    assert (line["level"], line["logger"], line["message"], line["route"]) == (
        "INFO", "overspill_operator.x", "scaled", "a/b",
    )  # fmt: skip


def test_attempts_of_kopf_are_no_errors_of_the_operator(capsys: pytest.CaptureFixture[str]) -> None:
    """They are told at DEBUG, as its own are; its other errors are told."""
    root = logging.getLogger()
    before = (root.handlers[:], root.level)
    attempt = "Request attempt #3 failed; will retry: GET https://x"
    try:
        for level, told in (("INFO", 1), ("DEBUG", 2)):
            json_logs.configure(level)
            logging.getLogger("kopf._cogs.clients.watching").error(attempt)
            logging.getLogger("kopf.objects").error("Watcher has failed")
            assert len(capsys.readouterr().err.splitlines()) == told
    finally:
        root.handlers[:], root.level = before[0], before[1]


def test_prometheus_is_named_by_a_url() -> None:
    """What is none is refused by its name; matchers are taken without the commas around them."""
    environment = {"OVERSPILL_PROMETHEUS_URL": "http://prometheus:9090", "OVERSPILL_PROMETHEUS_MATCHERS": 'a="b", '}
    settings = Settings.from_environment(environment)
    assert (settings.prometheus_url, settings.prometheus_matchers) == ("http://prometheus:9090", 'a="b"')
    with pytest.raises(ValueError, match="OVERSPILL_PROMETHEUS_URL is no URL; write one such as") as told:
        Settings.from_environment({"OVERSPILL_PROMETHEUS_URL": "me:secret@prometheus:9090"})
    assert "secret" not in str(told.value)
