"""Lines that can be recognised, and what became of them."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from cdesk_core import Consumer


def line(number: int) -> bytes:
    """A line that says twice who it is, of a length that varies."""
    return b'{"id":%d,"text":"%s"}' % (number, text_of(number))


def text_of(number: int) -> bytes:
    return b"number %d%s" % (number, b"." * (number * 7919 % 61))


def number_of(stored: bytes) -> int:
    """The number of a line that was delivered, which must be whole."""
    found = json.loads(stored)
    number: int = found["id"]
    assert found["text"].encode() == text_of(number), "a damaged line was delivered"
    return number


def numbers(ndjson: bytes) -> list[int]:
    return [number_of(stored) for stored in ndjson.split(b"\n")[:-1]]


def drain(consumer: Consumer) -> list[int]:
    found: list[int] = []
    while batch := consumer.next_batch():
        found += numbers(batch.ndjson)
    return found


def delivered(directory: Path, name: str = "reader") -> Counter[int]:
    """What a consumer of that name gets from here on."""
    with Consumer(directory, name) as consumer:
        found = Counter(drain(consumer))
        assert consumer.stats().damaged_lines == 0
        return found
