"""What one connection of a client may cost, in bytes and in seconds."""

from dataclasses import dataclass

from overspill_gateway.core.http.pieces import LONG_BYTES


@dataclass(frozen=True, slots=True)
class Limits:
    """What one connection may cost."""

    head_bytes_max: int = 64 * 1024
    """Bytes of a request's head."""
    header_fields_max: int = 128
    """Header fields of a request."""
    target_bytes_max: int = 8 * 1024
    """Bytes of a request's target."""
    body_bytes_max: int = 64 * 1024 * 1024
    """Bytes of a request's body: images come in it."""
    joined_bytes_max: int = LONG_BYTES
    """A longer body is handed over in parts."""
    bodies_bytes_max: int = 256 * 1024 * 1024
    """Bytes of all long bodies that are being received, or wait for a backend, together; one sender may have a half."""
    head_seconds: float = 10.0
    """From a request's first byte to the end of its head."""
    body_idle_seconds: float = 30.0
    """Between two pieces of a request's body."""
    body_bytes_per_second_min: float = 1000.0
    """A client whose body has come slower than this, on the whole, is given up."""
    keep_alive_seconds: float = 75.0
    """Between two requests."""
    write_stall_seconds: float = 60.0
    """The longest that a client may take nothing of what is ready for it."""
    connections_max: int = 20_000
    """Open connections; further ones are closed at once."""
