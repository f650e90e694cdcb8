"""One conversation after the other out of a JSON array or out of lines, whatever its length.

Invariants: every byte of the stream is in a span, or is white space, a comma or the array's
bracket; a span has a value or a reason; a stream that stops early ends with a span that says so
(`is_end`). A damaged conversation costs itself and not those after it, as long as its brackets and
quotes close. Values are those of `json`, without NaN and Infinity, which JSON does not have.

Whole windows are parsed value by value with the decoder of the standard library. Only where that
fails (the value goes on in the next chunk, is damaged or too long) is its end looked for first.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Final, NamedTuple, NoReturn

import orjson

from cdesk.importers.window import CHUNK_BYTES, Torn, Window, value_length

MAX_VALUES: Final = 500_000
"""The most values (objects, lists, texts, numbers) of a conversation: each may take 200 bytes."""

_TEXT: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_HALF: Final = re.compile(
    rb"(?:[^\\]++|\\[^u]|\\u(?![dD][89a-fA-F])"
    rb"|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})*+"
    rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}",
    re.DOTALL,
)
"""Everything up to half of a surrogate pair, and its escape."""
_GAP: Final = re.compile(rb"[ \t\r\n,]*+")
_TEXT_GAP: Final = re.compile(r"[ \t\r\n,]*+")
_FEW_BYTES: Final = 256
_LARGE_BYTES: Final = 4 * CHUNK_BYTES
_NO_CLOSING_BRACKET: Final = "the file ends before the closing bracket of its array"
_ENDS_INSIDE: Final = "the file ends inside this conversation"


class Span(NamedTuple):
    """One JSON value of the stream, or why there is none."""

    place: str
    """Where it starts: `byte 1` is the first byte of the JSON, `line 1` its first line."""
    value: Any
    reason: str = ""
    """Why there is no value; empty when there is one."""
    is_end: bool = False
    """Whether nothing after this place could be read."""


def array_spans(window: Window, max_bytes: int) -> Iterator[Span]:
    """The elements of a JSON array whose opening bracket was consumed.

    A value longer than `max_bytes` is read past and reported. Commas are not judged.
    """
    reason = _NO_CLOSING_BRACKET
    is_run_next, run_bytes, began = True, CHUNK_BYTES, window.start
    try:
        while window.skip(_GAP):
            if window.buffer.startswith(b"]"):
                window.drop(1)
                if window.skip(_GAP):
                    yield _end_span(window.start, "the array has ended; what follows was not read")
                return
            if is_run_next:
                began = window.start
                yield from _run(window, max_bytes, run_bytes)
                is_run_next = False
                continue
            is_run_next = True
            at, reason = window.start, _ENDS_INSIDE
            length = value_length(window, max_bytes)
            if not length:
                yield _end_span(at, reason if length is None else "not JSON; nothing more was read")
                return
            reason = _NO_CLOSING_BRACKET
            span = _span(window, _byte(at), at, length, max_bytes)
            # decoding goes at most twice as far as the last run and the value after it came: where
            # runs are short, whatever ends them, a whole chunk must not be decoded for each
            run_bytes = min(max(_FEW_BYTES, 2 * (window.start - began)), CHUNK_BYTES)
            yield span
    except Torn as torn:
        reason = str(torn)
    yield _end_span(window.start, reason)


def line_spans(window: Window, max_bytes: int) -> Iterator[Span]:
    """The values of the lines that are not blank; a bad line is reported and passed over."""
    number = 0
    try:
        while window.buffer or window.fill():
            number += 1
            at, seen = window.start, 0
            while (length := window.buffer.find(b"\n", seen)) < 0:
                seen = window.let_go(at, len(window.buffer), max_bytes)
                if not window.fill():
                    length = len(window.buffer)
                    break
            is_blank = window.start == at and not window.buffer[:length].strip()
            if not is_blank:
                yield _span(window, f"line {number:,}", at, length, max_bytes)
                length = 0
            window.drop(length + 1)
    except Torn as torn:
        yield Span(f"line {number:,}", None, str(torn), is_end=True)


def _run(window: Window, max_bytes: int, run_bytes: int) -> Iterator[Span]:
    """The objects at the buffer's start, up to the first that is not whole and good, or that ends
    beyond `run_bytes`."""
    if not window.buffer.startswith(b"{"):
        return
    text = _decodable(window.buffer[:run_bytes])
    here = 0
    while True:
        gap = _TEXT_GAP.match(text, here)
        start = here if gap is None else gap.end()
        if not text.startswith("{", start):
            return
        try:
            value, end = _DECODER.raw_decode(text, start)
        except (ValueError, RecursionError):
            return
        length = len(text[start:end].encode())
        if length > max_bytes:
            return
        if length > MAX_VALUES and _has_too_many_values(text[start:end].encode()):
            return
        window.drop(start - here)
        place = _byte(window.start)
        window.drop(length)
        here = end
        yield Span(place, value)


def _span(window: Window, place: str, at: int, length: int, max_bytes: int) -> Span:
    """Consumes the first `length` bytes of the buffer: all or the end of the span from `at`."""
    total = window.start + length - at
    if total > max_bytes:
        window.drop(length)
        return Span(place, None, f"is {total:,} bytes; the longest that is read is {max_bytes:,}")
    raw = window.buffer[:length]
    window.drop(length)
    if length > MAX_VALUES and _has_too_many_values(raw):
        return Span(place, None, f"holds more than {MAX_VALUES:,} values, the most that are read")
    try:
        if length > _LARGE_BYTES:  # orjson makes no text of the whole, at up to 4 bytes a character
            return Span(place, _large_value(raw))
        return Span(place, _DECODER.decode(raw.decode()))
    except UnicodeDecodeError as error:
        return Span(place, None, f"not UTF-8 at its byte {error.start + 1:,}")
    except json.JSONDecodeError as error:
        return Span(place, None, f"not JSON at its character {error.pos + 1:,}: {error.msg}")
    except ValueError as error:
        return Span(place, None, f"not JSON: {error}")
    except RecursionError:
        return Span(place, None, "is nested too deeply")


def _large_value(raw: bytearray) -> Any:
    """The value of JSON that is large; half a surrogate pair is U+FFFD in it."""
    with suppress(orjson.JSONDecodeError):
        return orjson.loads(raw)
    at = 0
    while half := _HALF.match(raw, at):  # matched from there, not looked for from everywhere
        at = half.end()
        raw[at - 4 : at] = b"fffd"
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        raw.decode()  # says where it is not UTF-8
        raise


def _has_too_many_values(raw: bytes | bytearray) -> bool:
    """Has the JSON more than `MAX_VALUES` values? Brackets and commas tell; not those in texts."""
    if _marks(raw, 0, len(raw)) < MAX_VALUES:
        return False
    found = here = 0
    for text in _TEXT.finditer(raw):
        found += _marks(raw, here, text.start())
        here = text.end()
        if found >= MAX_VALUES:
            return True
    return found + _marks(raw, here, len(raw)) >= MAX_VALUES


def _marks(raw: bytes | bytearray, start: int, end: int) -> int:
    return sum(raw.count(mark, start, end) for mark in (b",", b"{", b"["))


def _decodable(buffer: bytearray) -> str:
    try:
        return buffer.decode()
    except UnicodeDecodeError as error:
        return buffer[: error.start].decode()


def _end_span(at: int, reason: str) -> Span:
    return Span(_byte(at), None, reason, is_end=True)


def _byte(at: int) -> str:
    return f"byte {at + 1:,}"


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a JSON number")


_DECODER: Final = json.JSONDecoder(parse_constant=_refuse)
