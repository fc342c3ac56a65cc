"""How an engine's process ended, in one sentence with the way out. Pure: from its ending and its last lines."""

from overspill_box.core.process import Ending, ProcessSpec


def sentence(ending: Ending, spec: ProcessSpec | None = None) -> str:
    """What happened and what mends it; ``spec``: what it was started as, whose secrets are not repeated."""
    del spec
    if ending.was_asked:
        return "It was told to end."
    if ending.signal is not None:
        return f"It was ended by signal {ending.signal}."
    last = ending.last_words[-1] if ending.last_words else "it has printed nothing"
    return f"It ended with exit code {ending.code}: {last}"
