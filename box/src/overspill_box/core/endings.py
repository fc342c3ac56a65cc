"""How an engine's process ended, in one sentence with the way out. Pure: from its ending and its last lines.

What lines mean is a table (``ending_texts``). What is secret, as far as can be told, is not repeated.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from math import floor
from typing import Final

from overspill_box.core.ending_texts import MEANINGS
from overspill_box.core.process import Ending, ProcessSpec

HIDDEN: Final = "[hidden]"
LINE_LENGTH_MAX: Final = 240
"""Of a line that is repeated: longer ones are cut."""

_SIGKILL: Final = 9
_SIGNALS: Final = {
    1: "SIGHUP",
    2: "SIGINT",
    3: "SIGQUIT",
    4: "SIGILL",
    6: "SIGABRT",
    7: "SIGBUS",
    9: "SIGKILL",
    11: "SIGSEGV",
    15: "SIGTERM",
}
_CRASHES: Final = frozenset({4, 6, 7, 11})
_COLOURS: Final = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]+")
"""What terminals obey: an engine may repeat what a client has sent."""
_PREFIX: Final = re.compile(
    r"^(?:\([\w-]+(?: pid=\d+)?\) )?(?:(?P<level>[A-Z]+) \d\d-\d\d \d\d:\d\d:\d\d (?:\[[^\]]+\] ?)?)?"
)
"""What vLLM puts in front of each line: process, level, time and place."""
_QUIET: Final = frozenset({"DEBUG", "INFO", "WARNING"})
_TOLD: Final = re.compile(
    r"^(?:[A-Za-z_][\w.]*(?:Error|Exception|Exit|Interrupt)\b.*|(?:error|fatal|panic)\b.*)", re.IGNORECASE
)
_EMPTY_WORDS: Final = re.compile(
    r"Engine core initialization failed|See root cause above|leaked (?:shared_memory|semaphore)"
)
_SECRET_NAME: Final = re.compile(r"(?i)key|token|secret|password|credential")
_SECRET_TEXT: Final = re.compile(
    r"\b(?:hf|sk|osk|ghp|nvapi)[-_][A-Za-z0-9_-]{6,}|\bAKIA[A-Z0-9]{12,}|(?<=[Bb]earer )\S+"
    r"|(?<=://)[^\s/@]+:[^\s/@]+(?=@)"
)
_SECRET_VALUE: Final = re.compile(r"(?=.*[A-Za-z])(?=.*\d)[^\s/]{16,}")
_BEFORE_MODEL: Final = frozenset({"serve", "-m", "--model", "-hf", "--hf-repo"})
_SECRET_LENGTH_MIN: Final = 4


def sentence(ending: Ending, spec: ProcessSpec | None = None) -> str:
    """What happened and what mends it; ``spec``: what it was started as."""
    return _CONTROL.sub(" ", _without_secrets(_sentence(ending, spec), spec))


def _sentence(ending: Ending, spec: ProcessSpec | None) -> str:
    if ending.was_asked:
        return _asked(ending, spec)
    lines = list(_worth_reading(ending.last_words))
    if ending.code is None and ending.signal is None:
        return _not_started(lines, spec)
    if ending.signal is not None and ending.signal not in _CRASHES:
        return _signalled(ending.signal)  # it did not see it coming: what it printed before is of something else
    known = _known(lines, spec)
    if known is not None:
        return known
    if ending.signal is not None:
        return _signalled(ending.signal)
    told = _most_telling(lines)
    end = "without an error" if ending.code == 0 else f"with exit code {ending.code}"
    return f"It ended {end}: {told}" if told else f"It ended {end} and has printed nothing: look at how it is started."


def _asked(ending: Ending, spec: ProcessSpec | None) -> str:
    if ending.signal == _SIGKILL and spec is not None:
        return f"It was told to end, and by force after {spec.stop_seconds:g} s."
    return "It was told to end."


def _not_started(lines: Sequence[str], spec: ProcessSpec | None) -> str:
    program = spec.command[0] if spec is not None and spec.command else "its program"
    told = (lines[-1] if lines else "nobody says why").rpartition("could not be started: ")[2]
    if "No such file" in told:
        return (
            f"It could not be started, there is no {program}: install it, or correct the program in the profile's "
            "local.command."
        )
    if "Permission denied" in told or "Exec format" in told:
        return f"It could not be started, {program} is no program that may be run here ({_cut(told)}): install it anew."
    return f"It could not be started: {_cut(told)}"


def _known(lines: Sequence[str], spec: ProcessSpec | None) -> str | None:
    for meaning in MEANINGS:
        for line in lines:
            match = meaning.pattern.search(line)
            if match is not None:
                found = {name: text for name, text in match.groupdict().items() if text is not None}
                if "free" in found:
                    found["share"] = f"{floor(100 * float(found['free']) / float(found['all'])) / 100:g}"
                values = {"model": _model(spec), "port": str(spec.port) if spec else "", "line": _cut(line), **found}
                return _filled(meaning.sentence, values)
    return None


def _signalled(number: int) -> str:
    name = _SIGNALS.get(number, f"signal {number}")
    if number == _SIGKILL:
        return (
            f"It was killed ({name}), most likely by the kernel because the machine's memory ran out: choose a smaller "
            "or quantized model, or raise local.memory of the profile, so that less runs beside it."
        )
    if number in _CRASHES:
        return f"It crashed ({name}): try another version of the program, or fewer options; its log may say more."
    return f"It was ended by somebody else ({name})."


def _most_telling(lines: Sequence[str]) -> str:
    """The last line that names an error, else the last one that says anything."""
    telling = [line for line in lines if not _EMPTY_WORDS.search(line)]
    named = [line for line in telling if _TOLD.match(line)]
    return _cut(next(reversed(named or telling), ""))


def _worth_reading(words: Sequence[str]) -> Iterator[str]:
    """Lines without colours and what stands before each one; those that only inform are left out."""
    for word in words:
        line = _COLOURS.sub("", word)
        match = _PREFIX.match(line)
        level = match.group("level") if match else None
        text = line[match.end() :].strip() if match else line.strip()
        if text and level not in _QUIET:
            yield text


def _model(spec: ProcessSpec | None) -> str:
    """The model that it was started with, where that can be told."""
    command = spec.command if spec is not None else ()
    return next((command[place + 1] for place, item in enumerate(command[:-1]) if item in _BEFORE_MODEL), "the model")


def _filled(text: str, values: Mapping[str, str]) -> str:
    return re.sub(r"\{(\w+)\}", lambda match: values.get(match.group(1), ""), text)


def _cut(line: str) -> str:
    return line if len(line) <= LINE_LENGTH_MAX else f"{line[:LINE_LENGTH_MAX]}..."


def _without_secrets(text: str, spec: ProcessSpec | None) -> str:
    for secret in sorted(_secrets(spec), key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    return _SECRET_TEXT.sub(HIDDEN, text)


def _secrets(spec: ProcessSpec | None) -> Iterator[str]:
    """Texts in a process' command and environment that may be secret."""
    if spec is None:
        return
    for name, value in spec.environment.items():
        if len(value) >= _SECRET_LENGTH_MIN and (_SECRET_NAME.search(name) or _SECRET_VALUE.fullmatch(value)):
            yield value
    before = ""
    for item in spec.command:
        option, equals, value = item.partition("=")
        secret = value if equals and option.startswith("-") else item if before.startswith("-") else ""
        if len(secret) >= _SECRET_LENGTH_MIN and _SECRET_NAME.search(option if equals else before):
            yield secret
        before = "" if equals else item
