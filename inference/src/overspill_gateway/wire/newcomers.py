"""Lets a listening socket finish what has begun and begin nothing: for ending it without resetting anybody.

The kernel makes connections before the process hears of them; closing the socket resets those that it has not heard of.
So a filter on the socket first drops the packets that begin a connection, and only those. Clients that come meanwhile
try again after a second, as after a lost packet, and are refused then, or find another gateway.
"""

import ctypes
import logging
import socket
import struct
from typing import Final, Protocol

logger = logging.getLogger(__name__)

_SO_ATTACH_FILTER: Final = 26  # Linux; Python has no name for it
_FLAGS_OFFSET: Final = 13
_SYN, _ACK = 0x02, 0x10
_LOAD_BYTE, _AND, _JUMP_IF_EQUAL, _RETURN = 0x30, 0x54, 0x15, 0x06
_PROGRAM: Final = b"".join(
    struct.pack("HBBI", *instruction)
    for instruction in (
        (_LOAD_BYTE, 0, 0, _FLAGS_OFFSET),  # the filter sees a packet from its TCP header on
        (_AND, 0, 0, _SYN | _ACK),
        (_JUMP_IF_EQUAL, 0, 1, _SYN),
        (_RETURN, 0, 0, 0),  # drop it
        (_RETURN, 0, 0, 0xFFFF),  # let it pass
    )
)
_INSTRUCTION_BYTES: Final = 8


class Listening(Protocol):
    """A listening socket, or what a loop shows of one."""

    def setsockopt(self, level: int, option: int, value: bytes, /) -> object:
        """Set an option of the socket."""
        ...


def turn_newcomers_away(listening: Listening) -> None:
    """Begin no further connection on this socket; what has begun can still be accepted. Linux only."""
    program = ctypes.create_string_buffer(_PROGRAM, len(_PROGRAM))
    described = struct.pack("HP", len(_PROGRAM) // _INSTRUCTION_BYTES, ctypes.addressof(program))
    try:
        listening.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, described)
    except OSError as error:
        logger.warning("connections that are just being made may be reset", extra={"reason": str(error)})
