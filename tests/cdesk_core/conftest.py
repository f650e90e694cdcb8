"""What the tests of cdesk_core share."""

import json
from collections.abc import Iterator
from pathlib import Path

import cdesk_core
import pytest


def line(number: int) -> bytes:
    return b'{"id":%d}' % number


def ids(ndjson: bytes) -> list[int]:
    return [json.loads(text)["id"] for text in ndjson.splitlines()]


def drain(consumer: cdesk_core.Consumer) -> list[int]:
    numbers: list[int] = []
    while batch := consumer.next_batch():
        numbers += ids(batch.ndjson)
    return numbers


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "queue"


@pytest.fixture
def queue(directory: Path) -> Iterator[cdesk_core.Queue]:
    with cdesk_core.Queue(directory) as queue:
        yield queue
