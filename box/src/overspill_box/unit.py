"""A systemd unit that runs ``serve`` with the options that were typed."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

_PATHS: Final = frozenset({"--state", "--profiles", "--secrets"})
"""Options whose value is a path."""
_WITH_VALUE: Final = _PATHS | {"--listen", "--admin-listen", "--memory", "--vllm", "--cors-origins", "--log-level"}
STOP_SECONDS: Final = 150
"""Answers have a minute, engines that are ended a minute and ten seconds."""


def unit(python: str, arguments: Sequence[str], folder: Path) -> str:
    """The unit's text; ``arguments``: as typed, from ``serve`` on; ``folder``: where they were typed."""
    words = [word for word in arguments if word != "--print-unit"]
    command = [python, "-m", "overspill_cli.main", *_with_whole_paths(words, folder)]
    return f"""\
# Written by: overspill serve --print-unit. As root: put it into /etc/systemd/system/overspill.service; for one user:
# into ~/.config/systemd/user/overspill.service, and say --user to systemctl.
[Unit]
Description=Overspill: language models of this machine, hosted APIs for what they cannot serve
After=network-online.target
Wants=network-online.target

[Service]
Type=notify
ExecStart={" ".join(_quoted(word) for word in command)}
ExecReload=/bin/kill -HUP $MAINPID
# Where budgets, keys and logs are, unless --state says otherwise.
StateDirectory=overspill
StateDirectoryMode=0700
# Engines outlive a restart: systemd ends the main process alone, which ends them or keeps them for its successor.
KillMode=process
TimeoutStopSec={STOP_SECONDS}
Restart=on-failure
RestartSec=2

[Install]
WantedBy=multi-user.target
"""


def _with_whole_paths(words: Sequence[str], folder: Path) -> list[str]:
    """The same words with paths that hold wherever they are read."""
    whole: list[str] = []
    before = ""
    for index, word in enumerate(words):
        flag, equals, value = word.partition("=")
        if before in _PATHS:
            whole.append(str(folder / word))
        elif before in _WITH_VALUE or index == 0:
            whole.append(word)
        elif word.startswith("-"):
            whole.append(f"{flag}={folder / value}" if equals and flag in _PATHS else word)
        else:
            whole.append(str(folder / word))
        before = word if before not in _WITH_VALUE else ""
    return whole


def _quoted(word: str) -> str:
    """As a word of ExecStart: systemd reads percent, dollar, backslash, quotes and spaces."""
    word = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{word}"' if word != "".join(word.split()) or '"' in word or "'" in word or not word else word
