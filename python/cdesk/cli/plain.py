"""Other people's text on its way out: nothing in it can steer a terminal or break an encoding.

Invariants: what leaves here holds no control character but tab and line break, no C1 control, no
mark that turns the direction of writing, no line or paragraph separator and no half of a surrogate
pair: each is written as `\\uXXXX`, as JSON writes it, so that a JSON document stays the same
document. A locale of ASCII gets ASCII.
"""

from __future__ import annotations

import codecs
import locale
import logging
import re
import sys
from typing import Final

_STEERS: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
_OUTSIDE_ASCII: Final = re.compile("[^\x00-\x7f]")
_IN_ASCII: Final = {"·": "-", "…": "...", "✓": "ok", "✗": "FAILED"}
_HANDLER: Final = "cdesk.plain"
_ASCII_LOCALES: Final = {"C", "POSIX"}


def plain(text: str) -> str:
    """`text` with every character that steers a terminal written as `\\uXXXX`."""
    return _STEERS.sub(_escape, text)


def plain_json(document: str) -> str:
    """A JSON document as it may be printed: `plain`, and ASCII where stdout is not UTF-8."""
    document = plain(document)
    is_utf8 = (sys.stdout.encoding or "").lower().replace("-", "").startswith("utf")
    return document if is_utf8 else _OUTSIDE_ASCII.sub(_escape, document)


class PlainFormatter(logging.Formatter):
    """Formats log records; their texts may be anybody's."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as plain text."""
        return plain(super().format(record))


def prepare_streams() -> None:
    """Makes stdout and stderr write what their locale can show, and the rest as `\\uXXXX`.

    Python writes UTF-8 in the locales C and POSIX; a person who asked for one of them (LC_ALL) is
    believed.
    """
    codecs.register_error(_HANDLER, _in_ascii)
    is_ascii = locale.setlocale(locale.LC_CTYPE) in _ASCII_LOCALES
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is None:  # a test's or an embedder's own
            continue
        if is_ascii:
            reconfigure(encoding="ascii")
        reconfigure(errors=_HANDLER)


def _escape(found: re.Match[str]) -> str:
    units = found[0].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))


def _in_ascii(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    char = error.object[error.start]
    found = re.match(".", char, re.DOTALL)
    instead = _IN_ASCII.get(char) or (_escape(found) if found else "?")
    return instead, error.start + 1
