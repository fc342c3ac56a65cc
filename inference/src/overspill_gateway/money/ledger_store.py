"""The port of whatever keeps what is charged under caps: a file, memory, or something that gateways share.

``core.money.ledger_rules`` has what a store writes and answers; this is how it is asked. It is asked on the thread of
the event loop and answers there, later: nothing ever waits for it. Whoever asks has a time of its own.
"""

import itertools
from collections.abc import Callable, Mapping

from overspill_gateway.core.money.ledger_rules import AccountKey, CapKey, Claim, Failed, Granted


class LedgerStore:
    """Where it is written down what is charged.

    What is leased and given back, charged and settled is all one thing here, a claim: the holder's total. A store
    keeps to ``apply_claim`` and ``apply_alert``, in one step for each cap and period, also among several processes.
    Each question is answered once, also where the store is gone: then with ``Failed``, within seconds. A claim that
    failed stays with the store at its ``least`` and is written as soon as it can be, unless a newer one of its holder
    overtakes it: a holder may be gone by then.
    """

    def __init__(self, process: str, *, durable: bool, shared: bool) -> None:
        """``process``: the name of this process, such as no other has or ever had."""
        self.durable = durable
        """Whether what is charged outlives this process."""
        self.shared = shared
        """Whether the gateways of a release have one store, so that a cap holds over all of them."""
        self.error: str | None = None
        """Why it can't be written now; None: it can."""
        self.errors = 0
        """Writes that failed."""
        self.leases = 0
        """Claims for more money that were written."""
        self.dropped = 0
        """Claims that could never be written."""
        self.losses = 0
        """How often what was written vanished while it was used."""
        self._process = process
        self._accounts = itertools.count(1)

    def new_holder(self) -> str:
        """A name for an account of this process."""
        return f"{self._process}/{next(self._accounts)}"

    def claim(self, account: AccountKey, claim: Claim, then: Callable[[Granted | Failed], None]) -> None:
        """Write down what a holder has in all."""
        raise NotImplementedError

    def alert(self, account: AccountKey, level: int, then: Callable[[bool | None], None]) -> None:
        """Ask whether this holder is the first to see so much charged, over all holders; None: it can't be said."""
        raise NotImplementedError

    def remember(self, counted: Mapping[CapKey, str], unix_now: float) -> None:
        """Keep what rates have counted in the last minute, as far as it can be: it is written once and not told."""
        raise NotImplementedError

    def recall(self, unix_now: float, then: Callable[[dict[CapKey, str]], None]) -> None:
        """Ask for what was kept lately of this process' earlier lives; nothing, where it can't be read."""
        raise NotImplementedError

    def close(self, seconds: float = 5.0) -> bool:
        """Write what is left and stop; whether that was done in time. It may be waited for: call it in a thread."""
        raise NotImplementedError
