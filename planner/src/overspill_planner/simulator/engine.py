"""A vLLM engine in virtual time: continuous batching with chunked prefill, a KV cache that may be full, preemption.

An engine goes in steps, as vLLM does: every running request gets a token, what is left of a step's token budget reads
prompts, first come first served, and a request that finds no place in the batch waits. A step takes a base time, and
time for each prompt token read, each answer written on and, optionally, each token of context that is attended to.
Reading and writing share steps, so that a long prompt makes everybody's tokens late.

The KV cache holds the context of all requests in the batch. One from the queue comes in when its whole prompt has room,
or when nothing else runs; vLLM hands room out by chunks, and so lets it in a little earlier. When answers have grown
until there is no room for another token each, the request that came in last is put back to the head of the queue and
is read anew later, prompt and what it had written (recomputation, as vLLM's V1 does).

Where the trace says which blocks of tokens prompts share, those that the cache still has are not read again
(``prefix_cache``); blocks that no request in the batch uses stay only where there is room.

Steps in which nothing is read are one event together, up to the next end of an answer or a full cache: a model of a
million requests has a few million events, not one for each token.
"""

import heapq
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from overspill_planner.optimum.fluid import ReplicaRates
from overspill_planner.simulator.clock import Clock
from overspill_planner.simulator.prefix_cache import PrefixCache


@dataclass(slots=True)
class Speed:
    """How fast an engine is and how much it takes in: by default a mid-size model on one GPU."""

    step_seconds: float = 0.015
    """Base time of a step: above all reading the weights."""
    prompt_token_seconds: float = 1.0 / 10_000.0
    """For each prompt token that is read."""
    answer_seconds: float = 0.0002
    """For each answer that is written on in a step."""
    attention_seconds: float = 0.0
    """For each prompt token and each thousand tokens before it."""
    batched_tokens_max: int = 2048
    """Tokens of a step, written and read (``--max-num-batched-tokens``)."""
    running_max: int = 64
    """Requests in the batch (``--max-num-seqs``)."""
    kv_tokens: int | None = None
    """Tokens of context that the KV cache holds; None: any number."""

    @property
    def rates(self) -> ReplicaRates:
        """The most that it does: prompts with no step of their own, answers in the fullest batch."""
        return ReplicaRates(
            1.0 / self.prompt_token_seconds,
            1.0 / (self.step_seconds / self.running_max + self.answer_seconds),
            self.step_seconds + self.answer_seconds,
        )


def _nothing() -> None:
    """Nobody hears of it."""


def _unheard(_owner: object) -> None:
    """Nobody hears of it."""


@dataclass(eq=False, slots=True)
class Job:
    """A request inside an engine."""

    prompt_tokens: int
    output_tokens: int
    on_first_token: Callable[[], None]
    on_end: Callable[[], None]
    unread: int = 0
    """Tokens that are still to be read."""
    written: int = 0
    """Tokens that it had written when it was put back."""
    order: int = 0
    """Who came into the batch later has a higher one."""
    owner: object = None
    """Whose it is, for who asks what would become of it (``twin``)."""
    blocks: Sequence[int] = ()
    """Its prompt's whole blocks, each by a hash of its tokens and of those before it; none: nobody knows them."""
    held: list[int] | None = None
    """Those that it uses together with others, or that others will find, in order."""
    looked_at: int = 0
    """Blocks of the prompt that were there, or that it has read."""

    def twin(self, on_first_token: Callable[[object], None]) -> "Job":
        """The same work, of whose first token somebody else hears."""
        return Job(
            self.prompt_tokens, self.output_tokens, partial(on_first_token, self.owner), _nothing, self.unread,
            self.written, self.order, self.owner, self.blocks, None if self.held is None else self.held.copy(),
            self.looked_at,
        )  # fmt: skip


class Engine:
    """One replica."""

    def __init__(self, clock: Clock, speed: Speed, prefixes: PrefixCache | None = None) -> None:
        """``prefixes``: an empty one, or one with what it has read before; None: each prompt is read whole."""
        self.speed = speed
        self.prefixes = prefixes
        self.waiting: deque[Job] = deque()
        self.waiting_most = 0
        """The most that ever waited; whoever looks may set it back."""
        self.busy_seconds = 0.0
        self.preemptions = 0
        self.when_idle: Callable[[], None] | None = None
        """Called each time that nothing is left in it."""
        self.kv_tokens = 0
        """Tokens of context in the cache as of the last step that has ended."""
        self.reading: deque[Job] = deque()
        """Requests whose prompt is being read."""
        self.writing: list[tuple[int, int, Job]] = []
        """By the step at whose end it is whole."""
        self.is_copy = False
        """Whether answers in it are another's, which goes on with them."""
        self._clock = clock
        self._step = 0
        """Steps so far."""
        self._began = 0.0
        self._step_seconds = 0.0
        self._runs_to = 0
        """The step at whose end there is something to do; 0: it is idle."""
        self._ends = -1.0
        """When that is; below 0: it is idle."""
        self._came_in = 0
        """Requests that have come into the batch so far."""

    @property
    def running(self) -> int:
        """Requests in the batch."""
        return len(self.reading) + len(self.writing)

    @property
    def hit_tokens(self) -> int:
        """Prompt tokens that it needed not read again."""
        return self.prefixes.hit_tokens if self.prefixes is not None else 0

    @property
    def is_idle(self) -> bool:
        """Whether nothing is in it."""
        return not self.reading and not self.writing and not self.waiting

    @property
    def kv_cache_usage(self) -> float:
        """Share of the KV cache in use, 0 to 1; 0 where it has no limit."""
        room = self.speed.kv_tokens
        return min(self.kv_tokens / room, 1.0) if room else 0.0

    def submit(self, job: Job) -> None:
        """A request comes."""
        job.unread = job.prompt_tokens
        self.waiting.append(job)
        self.waiting_most = max(self.waiting_most, len(self.waiting))
        if not self._runs_to:
            self._begin()
        elif self._runs_to > self._step + 1 and self.running < self.speed.running_max:
            # Many steps of writing are one event: it is read from the next one on.
            done = int((self._clock.now - self._began) / self._step_seconds)
            if self._step + done + 1 < self._runs_to:
                self.end_at(self._step + done + 1)

    def twin(self, clock: Clock, on_first_token: Callable[[object], None]) -> "Engine":
        """A copy of it and of all its work on another clock that shows the same time.

        Nobody hears of what is in it but ``on_first_token``, of a job's owner. Answers that are being written, of which
        there may be hundreds, are shared: a copy changes none of them.
        """
        twin = Engine(clock, self.speed, self.prefixes.twin() if self.prefixes is not None else None)
        twin.waiting = deque([job.twin(on_first_token) for job in self.waiting])
        twin.reading = deque([job.twin(on_first_token) for job in self.reading])
        twin.writing = self.writing.copy()
        twin.is_copy = True
        twin.kv_tokens = self.kv_tokens
        twin.take_place(self._step, self._began, self._step_seconds, self._came_in)
        if self._runs_to:
            twin.end_at(self._runs_to)
        return twin

    def take_place(self, step: int, began: float, step_seconds: float, came_in: int) -> None:
        """Go on from within a step of another."""
        self._step, self._began, self._step_seconds, self._came_in = step, began, step_seconds, came_in

    def _begin(self) -> None:
        """The next step or steps."""
        speed = self.speed
        room = speed.kv_tokens
        if room is not None:
            self._make_room(room)
        writing = len(self.writing)
        self._began = self._clock.now
        self._step_seconds = speed.step_seconds + speed.answer_seconds * writing
        if (self.reading or self.waiting) and self._read(speed.batched_tokens_max - writing, room):
            self.end_at(self._step + 1)
        elif writing:
            ends = self.writing[0][0]
            if room is not None:
                ends = min(ends, self._step + max((room - self.kv_tokens) // writing, 1))
            self.end_at(ends)
        else:
            self._runs_to, self._ends = 0, -1.0
            if self.when_idle is not None:
                self.when_idle()

    def _read(self, budget: int, room: int | None) -> bool:
        """Read prompts in this step, with what is left of its tokens; whether there were any to read."""
        speed, writing = self.speed, len(self.writing)
        reads = False
        place = 0
        while budget > 0:
            if place < len(self.reading):
                job = self.reading[place]
            else:
                if not self.waiting or self.running >= speed.running_max:
                    break
                job = self.waiting[0]
                found = 0
                wanted = job.unread
                if job.blocks and self.prefixes is not None:
                    found = self.prefixes.found(job.blocks, job.unread)
                    shared = found - self.prefixes.unused(job.blocks, found)
                    wanted -= shared * self.prefixes.block_tokens
                if room is not None and self.running and self.kv_tokens + writing + wanted > room:
                    break
                self.waiting.popleft()
                self._came_in += 1
                job.order = self._came_in
                self.kv_tokens += wanted
                self.reading.append(job)
                if job.blocks and self.prefixes is not None:
                    self._reuse(job, found, self.prefixes, room)
            place += 1
            part = min(budget, job.unread)
            before = job.prompt_tokens + job.written - job.unread
            self._step_seconds += part * (speed.prompt_token_seconds + speed.attention_seconds * before / 1000.0)
            job.unread -= part
            budget -= part
            reads = True
            if job.blocks and self.prefixes is not None:
                self._keep(job, self.prefixes)
        return reads

    def _reuse(self, job: Job, found: int, prefixes: PrefixCache, room: int | None) -> None:
        """What is there of its prompt is not read; with it in the batch there may be less room for others' blocks."""
        prefixes.use(job.blocks, found)
        job.held = list(job.blocks[:found])
        job.looked_at = found
        job.unread -= found * prefixes.block_tokens
        if room is not None:
            prefixes.leave(room - self.kv_tokens)

    @staticmethod
    def _keep(job: Job, prefixes: PrefixCache) -> None:
        """Whole blocks that it has read so far may be found by others."""
        whole = min((job.prompt_tokens + job.written - job.unread) // prefixes.block_tokens, len(job.blocks))
        while job.looked_at < whole:
            block = job.blocks[job.looked_at]
            job.looked_at += 1
            if prefixes.read(block) and job.held is not None:
                job.held.append(block)

    def _leaves(self, job: Job, tokens: int) -> None:
        """It leaves the batch with so many tokens of context; blocks that others may find stay while there is room."""
        prefixes, held = self.prefixes, job.held
        if prefixes is None or held is None:
            self.kv_tokens -= tokens
            return
        if self.speed.kv_tokens is not None:
            prefixes.leave(self.speed.kv_tokens - self.kv_tokens)  # of what there was room for until now
        self.kv_tokens -= tokens - (len(held) - prefixes.let_go(held)) * prefixes.block_tokens

    def _make_room(self, room: int) -> None:
        """Put back who came in last until everybody can write another token."""
        while self.kv_tokens + len(self.writing) > room and self.running > 1:
            self.preemptions += 1
            places = {job.order: place for place, (_, _, job) in enumerate(self.writing)}
            if self.reading and self.reading[-1].order > max(places, default=-1):
                last = self.reading.pop()
            else:
                ends, _, last = self.writing.pop(places[max(places)])
                if self.is_copy:
                    last = last.twin(_unheard)
                last.written = last.output_tokens - (ends - self._step)
                heapq.heapify(self.writing)
            last.unread = last.prompt_tokens + last.written
            self._leaves(last, last.unread)
            self.waiting.appendleft(last)

    def end_at(self, step: int) -> None:
        """The steps that are under way end with this one, where nobody comes before."""
        self._runs_to = step
        self._ends = self._began + (step - self._step) * self._step_seconds
        self._clock.at(self._ends, self._ended)

    def _ended(self) -> None:
        if self._clock.now != self._ends:
            return  # a request came meanwhile, and it ended earlier
        steps = self._runs_to - self._step
        self.busy_seconds += steps * self._step_seconds
        self.kv_tokens += steps * len(self.writing)
        step = self._step = self._runs_to
        begun: list[Job] = []
        while self.reading and not self.reading[0].unread:
            begun.append(self.reading.popleft())
        ended = []
        while self.writing and self.writing[0][0] <= step:
            ended.append(heapq.heappop(self.writing)[2])
        for job in begun:
            self.kv_tokens += 1
            left = job.output_tokens - job.written - 1
            if left > 0:
                heapq.heappush(self.writing, (step + left, job.order, job))
            else:
                ended.append(job)
        for job in ended:
            self._leaves(job, job.prompt_tokens + job.output_tokens)
        # The next step is under way before anybody hears of this one's tokens.
        self._begin()
        for job in begun:
            if not job.written:
                job.on_first_token()
        for job in ended if not self.is_copy else ():
            job.on_end()
