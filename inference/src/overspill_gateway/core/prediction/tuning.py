"""What could be set otherwise in deciding, in one place, each with its reason, for whoever sweeps them.

Nothing here is for users. Where a reason says "chosen", nobody has swept it yet. Each object that learns or decides
has one of these; without a word it is ``TUNING``.
"""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Tuning:
    """The numbers by which the core decides."""

    # -- How work is counted (``load``) ----------------------------------------------------------------------------

    output_token_work: float = 4.0
    """Prompt tokens that an engine reads in the time that one more output token costs it, in a batch of usual size:
    some 4,000 to 20,000 tokens of prompt a second against 1,000 to 5,000 of output, on small and large GPUs alike."""
    request_work: float = 32.0
    """What a request costs whatever its length: with no lengths known, work is the number of requests."""
    work_per_request: float = 1024.0
    """Of a request of another gateway, before any of our own tells."""
    fresh_seconds: float = 2.0
    """Gauges count in full for two rounds of reading them ..."""
    stale_seconds: float = 10.0
    """... then less and less, and from here on not at all."""
    kv_cache_strained: float = 0.8
    """From here on an engine soon preempts: it throws away running requests' work to do it again."""

    # -- Which replica (``balance``) -------------------------------------------------------------------------------

    load_factor: float = 1.25
    """A conversation's replica serves it up to this many times the mean work."""
    batch_work: float = 2048.0
    """Work more than at the least busy replica that nobody notices: an engine serves a few requests at a time at the
    speed of one. On top of that the prompt itself: what is read anew elsewhere is work as well."""
    slow_start_seconds: float = 10.0
    """A replica that is new in rotation gets its full share after this time: its caches are empty."""
    slow_start_share_min: float = 0.1
    """The share that it begins with: with nothing to do it would stay empty."""
    panic_replicas_min: int = 3
    """From so many replicas on, ejections are ignored when more than half of them are ejected: what fails then is not
    the replicas, and the rest could not carry the load."""

    # -- Who rests (``ejection``) ----------------------------------------------------------------------------------

    consecutive_max: int = 5
    """Failures in a row that eject."""
    timeout_counts: int = 2
    """A request that timed out has cost somebody the longest wait there is: three in a row eject."""
    failure_share_max: float = 0.3
    """Share of recent requests that failed, above which a backend is ejected though some succeed in between."""
    failure_share_step: float = 1 / 16
    """Weight of one request in that share, which so looks back some 16 requests: six failures out of the first ones."""
    ejection_seconds: float = 5.0
    """The first time; twice as long each further time."""
    ejection_seconds_max: float = 120.0
    """One of two replicas is half of what there is: longer would be dear, and a look every two minutes costs
    nothing."""
    rest_seconds_max: float = 300.0
    """The longest rest that a backend is granted because it asked for it."""
    forgiven_seconds: float = 60.0
    """Without an ejection for this long, one earlier ejection is forgotten."""
    limited_seconds: float = 0.5
    """After a 429 that names no time; twice as long each further time in a row."""
    limited_seconds_max: float = 30.0
    """Chosen: half of the minute that providers' windows mostly are."""
    returning_seconds: float = 10.0
    """From its return to its full share."""
    returning_share_min: float = 0.1
    """The share that it begins with: what gets nothing can show nothing."""
    probation_successes: int = 3
    """Requests that a backend which returns has to answer well; the first failure before that ejects it again."""
    one_crash_seconds: float = 0.1
    """Connections that break within this time broke for one reason: they count once."""

    # -- How many of those who wait go (``release``) ---------------------------------------------------------------

    room_min: int = 4
    """Requests that a replica of which nothing is known gets at once."""
    room_max: int = 64
    """However fast it begins them: what an engine is kept supplied by, and how long its own queue gets unseen."""
    settle_seconds: float = 2.0
    """A request counts as begun so long after the last was sent, where neither tokens nor gauges tell."""
    full_seconds: float = 0.25
    """A replica that has said that it is full is left alone so long, unless something of ours ends there before: what
    others have there ends meanwhile, and one refusal every quarter of a second costs it nothing."""
    look_seconds_max: float = 1.0
    """Those who wait are looked at so often at least."""
    look_seconds_min: float = 0.05
    """Between two looks: chosen, so that looking costs nothing beside a request."""

    # -- A line that is learned (``line``) -------------------------------------------------------------------------

    memory_seconds: float = 30.0
    """An observation counts a third after this time ..."""
    memory_observations: float = 25.0
    """... but so many are always remembered, however old."""
    outlier_factor: float = 3.0
    """An observation further off than this counts as if it were this far off ..."""
    young_forgets: float = 0.5
    """... and, while a line is young, halves what came before: its beginning may be what is wrong."""
    learned_per_second: float = 100.0
    """Of many, so many are looked at: a few seconds of them fill what is remembered, and more would cost without
    telling."""
    line_spread: float = 0.1
    """Where all work is alike nothing tells base from slope: then the prior divides, and weighs as much as this spread
    of work would."""

    # -- How long until the first token (``prediction``) -----------------------------------------------------------

    prior_prompt_tokens: float = 200.0
    """A prompt so long is taken to cost as much as an empty one, until prompts of several lengths tell."""
    output_tokens_expected: float = 256.0
    """Of an answer, until some were seen."""
    prompt_tokens_expected: float = 512.0
    """Of a prompt, until some were seen."""
    trend_gain: float = 0.05
    """Share of an observation in the factor that holds at all levels: it follows a model that changes its speed."""
    level_gain: float = 0.02
    """Of the same in the factor of one level: slower than the trend's, which is to follow, while this one is to
    last."""
    rare_gain: float = 0.3
    """Instead of the trend's, for the first observation after a while: when few requests stay, each has to tell
    more."""
    rare_seconds: float = 1.0
    """That while."""
    brighter: float = 0.7
    """A first token that came in less than this share of what was predicted says that predictions are too high."""
    tail_share: float = 0.05
    """The share of requests that may take longer than what is told by ``tail``."""
    tail_gain: float = 0.15
    """One that is later moves its level's tail up by 14 %, and some eighteen in time bring it back: chosen, so that a
    level is followed within the twenty or so that hold one late one."""
    tail_start: float = 1.25
    """Until a level has its own: they settle at 1.2 to 2.1 in the engine model of the tests."""
    tail_max: float = 3.0
    """Above where levels settle; without a bound a level could be shunned for so long that nothing were seen of it any
    more."""
    caution_min: float = 0.75
    """So many times the tail's part of what is predicted counts at least, and as much of the distance between target
    and lower bound: chosen, since a model that becomes slower is late at once. It begins at 1, which is all of it."""
    caution_late: float = 0.25
    """More after a first token that was late though a hosted API would have been in time ..."""
    caution_regretted: float = 0.02
    """... and less after a spill that a replica would have begun in time: a dozen of these are as bad as one late."""
    late_share_max: float = 0.002
    """No less while more first tokens than this were late of late: what is promised is one in a hundred."""
    late_memory: float = 512.0
    """First tokens that this looks back on."""
    finished_memory_seconds: float = 10.0
    """Chosen: long enough to hold some ends of a slow replica, short enough for a Retry-After of seconds."""
    promised_share: float = 2.0 / 3.0
    """Of the places that become free, for those who were told to come back; newcomers take the rest."""
    reading_tokens: float = 1024.0
    """Of prompts that an engine has begun to read, not read yet: half a step's."""
    prefill_to_decode: float = 0.01
    """Seconds per prompt token over seconds per output token of one request, until learned: to divide a plain
    answer's."""
    compare_seconds: float = 1.0
    """Replicas are compared so often: a factor changes by a few percent with each request."""
    slowness_min: float = 1.5
    """A replica that differs by less is taken for one like the rest when work is divided ..."""
    slowness_left: float = 1.25
    """... and one that was not before, by less than this."""
    slowness_max: float = 10.0
    """However slow, it gets a tenth of another's share: little is lost by it, and it is seen when it recovers."""
    slowness_evidence: float = 1.44
    """The square of the logarithm of a difference, times the observations that it rests on: three standard deviations
    of first tokens that scatter by 40 %. A difference of 1.5 takes nine observations, one of 10 a single one."""
    prior_running: float = 8.0
    """Requests at which what a step costs by itself and what it costs for each are taken to be alike: chosen, and as
    good as forgotten once batches of two sizes were seen."""
    running_expected: float = 32.0
    """Requests in a full batch, until a replica was seen to be full: chosen, only a Retry-After rests on it."""
    prompt_tokens_gain: float = 0.05
    """Of one prompt in the usual length: a mean of some twenty."""
    output_tokens_gain: float = 0.03
    """Of one answer in the usual length: a mean of some thirty, for lengths of answers scatter more."""
    slots_gain: float = 0.25
    """By how much a full engine that runs fewer than before lowers its number of places: chosen; long prompts leave
    fewer for a while only."""
    able_share: float = 0.5
    """After a quiet time fewer ended than could have; what the rates say is believed by this much."""

    # -- What a replica has of its own (``pace``) ------------------------------------------------------------------

    pace_prior: float = 1.5
    """Observations that being like the rest counts for: replicas mostly are, and one that is not is found out by
    three."""
    pace_memory: float = 20.0
    """Observations that are remembered: single first tokens scatter by half, the mean of so many by a tenth."""
    pace_outlier: float = 3.0
    """An observation further off than this counts as if it were this far off, and halves what came before: a replica
    that has become slower is known for it after some five requests, and a single outlier moves little."""
    quiet_seconds: float = 300.0
    """What was seen of a replica that long ago says nothing: it is taken to be like the rest again."""
    try_seconds_min: float = 1.0
    """Between two requests that try a replica with none of ours against the prediction ..."""
    try_seconds_max: float = 60.0
    """... doubling up to this while none of them changes it: prompts may be too long for the target even alone."""

    # -- Whether the target is kept (``target``) -------------------------------------------------------------------

    spilling_seconds: float = 5.0
    """Without a request that would have been late, this long, until the full target counts again."""
    unlearned_requests_max: int = 32
    """At a replica whose rates nobody knows yet: enough to learn them, and no flood."""
    return_below: float = 0.8
    """While requests go elsewhere, only those below this share of the target stay, or more, where caution is less."""


TUNING: Final = Tuning()
"""As it is."""
