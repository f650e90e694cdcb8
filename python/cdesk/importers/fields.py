"""Typed reads from a conversation as JSON: the value, or `Malformed` that names its place.

Invariants: a reason names where and what was expected, never what was found; an absent field and a
null are the same; every text that leaves this module can be encoded as UTF-8 (half a surrogate
pair, as cut titles have them, becomes U+FFFD; an id that has one is refused). What is written of a
value for its size and its hash is never held whole, but for one copy as UTF-8.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import orjson

MAX_ID_CHARS: Final = 128
MAX_NAME_CHARS: Final = 255
HASH_DIGITS: Final = 16

_FIRST_YEAR, _LAST_YEAR = 1970, 2200
_MAX_WHOLE: Final = 2**63 - 1
_SLICE_CHARS: Final = 1 << 16
REPLACEMENT: Final = "\ufffd"
"""What stands in the place of half a character."""

_HALF: Final = re.compile("[\ud800-\udfff]")


class Malformed(Exception):
    """A conversation is not one; the message is `place: what was expected`."""


def identifier(holder: Mapping[str, Any], key: str, place: str) -> str:
    """The required id under `key`.

    Raises:
        Malformed: absent, not a text, empty, longer than `MAX_ID_CHARS`, or not all of it can be
            encoded.
    """
    value = holder.get(key)
    if not isinstance(value, str) or not 0 < len(value) <= MAX_ID_CHARS:
        raise Malformed(f"{place}{key}: must be a text of 1 to {MAX_ID_CHARS} characters")
    if REPLACEMENT in encodable(value):  # replaced, two ids would become one
        raise Malformed(f"{place}{key}: must be a text without half a character in it")
    return value


def text(holder: Mapping[str, Any], key: str, place: str) -> str:
    """The text under `key`; empty when absent.

    Raises:
        Malformed: neither a text nor null.
    """
    value = holder.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise Malformed(f"{place}{key}: must be a text")
    return encodable(value)


def name(holder: Mapping[str, Any], key: str) -> str | None:
    """The name under `key`, at most `MAX_NAME_CHARS` of it; `None` unless it is a text."""
    value = holder.get(key)
    return encodable(value[:MAX_NAME_CHARS]) if isinstance(value, str) and value else None


def whole(holder: Mapping[str, Any], key: str) -> int | None:
    """The whole number under `key`, zero or more; `None` unless it is one."""
    value = holder.get(key)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _MAX_WHOLE:
        return None
    return value


def items(holder: Mapping[str, Any], key: str, place: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The objects of the list under `key`, each with its place; none when absent.

    Raises:
        Malformed: neither a list of objects nor null.
    """
    values = holder.get(key)
    if values is None:
        return
    if not isinstance(values, list):
        raise Malformed(f"{place}{key}: must be a list")
    for index, value in enumerate(values):
        here = f"{place}{key}[{index}]"
        if not isinstance(value, dict):
            raise Malformed(f"{here}: must be an object")
        yield here, value


def moment(holder: Mapping[str, Any], key: str, place: str) -> datetime:
    """The required time under `key`, in UTC; one without a zone counts as UTC.

    Raises:
        Malformed: absent, or not an ISO 8601 time of the years 1970 to 2200.
    """
    found = optional_moment(holder, key)
    if found is None:
        raise Malformed(
            f"{place}{key}: must be an ISO 8601 time of the years {_FIRST_YEAR} to {_LAST_YEAR}"
        )
    return found


def optional_moment(holder: Mapping[str, Any], key: str) -> datetime | None:
    """As `moment`, and `None` where that raises."""
    value = holder.get(key)
    if not isinstance(value, str):
        return None
    try:
        found = datetime.fromisoformat(value)
        if found.tzinfo is not UTC:
            found = found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return found if _FIRST_YEAR <= found.year <= _LAST_YEAR else None


def encodable(value: str) -> str:
    """`value` with U+FFFD for every half of a surrogate pair."""
    if value.isascii():
        return value
    try:
        value.encode()
    except UnicodeEncodeError:
        return _HALF.sub(REPLACEMENT, value)
    return value


class Written(NamedTuple):
    """What is known of a value or a text by the bytes that it is written as."""

    size: int
    """How many bytes."""
    digest: str
    """The first `HASH_DIGITS` hex digits of their SHA-256.

    Tells equal from different. Not a secret: who guesses a short text can confirm it."""
    head: bytes
    """The first of them, as many as were to be kept."""


def written_json(value: object, keep: int) -> Written:
    """`value` as compact JSON with sorted keys, of which the first `keep` bytes are kept."""
    try:
        whole_of_it = orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except TypeError:  # half a surrogate pair, a number beyond 64 bits, more than 254 levels
        return _written(_json_pieces(value), keep)
    return _written([whole_of_it], keep)


def written_text(texts: Iterable[str], keep: int) -> Written:
    """Texts joined by blank lines, of which the first `keep` bytes are kept."""
    return _written(_text_pieces(texts), keep)


def _written(pieces: Iterable[bytes], keep: int) -> Written:
    size, summed, head = 0, hashlib.sha256(), bytearray()
    for piece in pieces:
        size += len(piece)
        summed.update(piece)
        if len(head) < keep:
            head += piece[: keep - len(head)]
    return Written(size, summed.hexdigest()[:HASH_DIGITS], bytes(head))


def _text_pieces(texts: Iterable[str]) -> Iterator[bytes]:
    for number, text_of_it in enumerate(texts):
        if number:
            yield b"\n\n"
        for at in range(0, len(text_of_it), _SLICE_CHARS):
            yield text_of_it[at : at + _SLICE_CHARS].encode()


def _json_pieces(value: object) -> Iterator[bytes]:
    """`value` as `orjson` writes it, in pieces, also where that refuses: of any depth."""
    todo: list[object] = [value]
    while todo:
        one = todo.pop()
        if isinstance(one, bytes):  # a mark between values, which JSON does not have
            yield one
        elif isinstance(one, str):
            yield b'"'
            for at in range(0, len(one), _SLICE_CHARS):
                yield orjson.dumps(encodable(one[at : at + _SLICE_CHARS]))[1:-1]
            yield b'"'
        elif isinstance(one, (dict, list)):
            todo += _inside(one)
        elif isinstance(one, int) and not isinstance(one, bool):
            yield str(one).encode()
        else:
            yield orjson.dumps(one)


def _inside(holder: dict[str, object] | list[object]) -> list[object]:
    """The marks and values that an object or a list is written as, the last first."""
    if isinstance(holder, list):
        parts: list[object] = [part for inner in holder for part in (b",", inner)]
        return [b"]", *reversed(parts[1:]), b"["]
    parts = [part for key in sorted(holder) for part in (b",", key, b":", holder[key])]
    return [b"}", *reversed(parts[1:]), b"{"]
