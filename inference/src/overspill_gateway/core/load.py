"""How much work a replica has, as this gateway knows: what it sent there itself, corrected by the engine's own gauges.

Written by whoever sends requests and reads gauges; read by choosing and by predicting.
"""

from dataclasses import dataclass


@dataclass(slots=True)
class ReplicaLoad:
    """The work of one replica."""

    in_flight: int = 0
    """Requests at it now, from this gateway."""
    prompt_tokens_pending: int = 0
    """Prompt tokens of requests sent to it whose first token has not come."""
    output_tokens_pending: int = 0
    """Output tokens still expected of the requests at it."""
    running: int = 0
    """``vllm:num_requests_running`` when it was last read: of all gateways together."""
    waiting: int = 0
    """``vllm:num_requests_waiting`` when it was last read."""
    kv_cache_usage: float = 0.0
    """``vllm:kv_cache_usage_perc`` when it was last read, 0 to 1."""
    in_flight_at_scrape: int = 0
    """``in_flight`` when the gauges were read: what others send is the difference."""
    scraped_at: float = float("-inf")
    """When the gauges were last read, seconds of the loop's clock."""
    usable_since: float = float("-inf")
    """When it came into rotation, seconds of the loop's clock: a new one starts slowly."""
