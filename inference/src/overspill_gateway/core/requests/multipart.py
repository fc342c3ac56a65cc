"""Reads which model a multipart form names, as audio uploads do. Files are skipped, never copied.

Strict where parsers differ: a part whose disposition can't be read for sure refuses the whole form.
"""

import re
from typing import Final

from overspill_gateway.core.http.errors import ApiError, invalid_body
from overspill_gateway.core.text.one_reading import form_name_is_doubtful
from overspill_gateway.core.text.splice import BodyError, Span

PARTS_MAX: Final = 64
_PART_HEAD_BYTES_MAX: Final = 4096
_FIELD_BYTES_MAX: Final = 1024
_BOUNDARY: Final = re.compile(
    rb'multipart/form-data[ \t]*;[ \t]*boundary=(?:"([^"\\]{1,70})"|([^ ",;\\]{1,70}))', re.IGNORECASE
)
_DISPOSITION: Final = re.compile(
    rb'content-disposition:[ \t]*form-data[ \t]*;[ \t]*name="([^"\\\r\n]*)"([ \t]*;[ \t]*filename\*?=[^\r\n]*)?',
    re.IGNORECASE,
)


def is_multipart(content_type: bytes) -> bool:
    """Whether a content type is a multipart form."""
    return content_type[:19].lower() == b"multipart/form-data"


def field_spans_of_form(body: bytes, content_type: bytes, names: frozenset[bytes]) -> dict[bytes, Span]:
    """Where the values of these fields of a form stand; raises BodyError."""
    match = _BOUNDARY.fullmatch(content_type)
    if match is None:
        raise _malformed("its Content-Type names no boundary, or one that can be read in two ways")
    mark = b"--" + (match[1] or match[2])
    if not body.startswith(mark):
        raise _malformed("it does not begin with its boundary")
    spans: dict[bytes, Span] = {}
    at = len(mark)
    for _ in range(PARTS_MAX):
        if body.startswith(b"--", at):
            return spans
        head_end = body.find(b"\r\n\r\n", at, at + _PART_HEAD_BYTES_MAX)
        end = body.find(b"\r\n" + mark, head_end + 4)
        if not body.startswith(b"\r\n", at) or head_end < 0 or end < 0:
            raise _malformed("a part has no head or no end")
        name, is_file = _disposition(body[at + 2 : head_end])
        if form_name_is_doubtful(name, names):
            raise BodyError(_doubtful_field(name.decode("utf-8", "replace")))
        if name in names:
            if is_file or name in spans or end - head_end - 4 > _FIELD_BYTES_MAX:
                raise BodyError(_bad_field(name.decode()))
            spans[name] = (head_end + 4, end)
        at = end + 2 + len(mark)
    raise _malformed(f"it has more than {PARTS_MAX} parts")


def _disposition(head: bytes) -> tuple[bytes, bool]:
    """Name of a part, and whether it is a file."""
    lines = [line for line in head.split(b"\r\n") if line[:19].lower() == b"content-disposition"]
    match = _DISPOSITION.fullmatch(lines[0]) if len(lines) == 1 else None
    if match is None:
        raise _malformed("a part's Content-Disposition is not 'form-data; name=\"...\"'")
    return match[1], match[2] is not None


def _bad_field(name: str) -> ApiError:
    message = f'The form field "{name}" must come once, as short text.'
    return invalid_body(message, param=name, code="duplicate_field")


def _doubtful_field(name: str) -> ApiError:
    meant = name.strip().casefold()
    message = f'The form field "{name}" is taken for "{meant}" by some parsers. Send it once, as "{meant}".'
    return invalid_body(message, param=name, code="ambiguous_field")


def _malformed(why: str) -> BodyError:
    return BodyError(invalid_body(f"The body is not a multipart form: {why}.", code="invalid_multipart"))
