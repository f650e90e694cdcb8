"""The calls of `cdesk_core` and of the recorder, each beside the obvious other way to do it."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cdesk_core
import pytest

from cdesk.recorder import Recorder

Benchmark = Callable[..., Any]

LINE = json.dumps({"activity_id": "0", "activity": "cdesk.user_asked", "x": "y" * 230}).encode()
TEMPLATE = "SELECT activity, count(*) FROM events\nWHERE ts > :since AND activity = :name\n" * 4
PARAMS = {"since": "2026-11-01", "name": "cdesk.user_asked", "limit": 10}


@pytest.fixture
def queue(tmp_path: Path) -> Any:
    """A queue of its own."""
    with cdesk_core.Queue(tmp_path / "queue") as opened:
        yield opened


def bench_append_durable(benchmark: Benchmark, queue: cdesk_core.Queue) -> None:
    benchmark(queue.append, LINE)


def bench_append_sqlite_wal_full(benchmark: Benchmark, tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "log.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("CREATE TABLE log (line BLOB)")
    benchmark(connection.execute, "INSERT INTO log VALUES (?)", (LINE,))
    connection.close()


def bench_append_raw_fdatasync_growing(benchmark: Benchmark, tmp_path: Path) -> None:
    descriptor = os.open(tmp_path / "raw", os.O_CREAT | os.O_WRONLY | os.O_APPEND)

    def append() -> None:
        os.write(descriptor, LINE)
        os.fdatasync(descriptor)

    benchmark(append)
    os.close(descriptor)


def bench_append_many_1000(benchmark: Benchmark, queue: cdesk_core.Queue) -> None:
    benchmark(queue.append_many, [LINE] * 1000)


def bench_recorder_event(benchmark: Benchmark, queue: cdesk_core.Queue, tmp_path: Path) -> None:
    recorder = Recorder(queue, customer="bench", tags=cdesk_core.QueryTags(tmp_path))
    benchmark(recorder.record, "cdesk.user_asked", {"chars": 12, "model": "claude"})


def bench_query_tag(benchmark: Benchmark, tmp_path: Path) -> None:
    benchmark(cdesk_core.QueryTags(tmp_path).next)


def bench_query_tag_uuid4(benchmark: Benchmark) -> None:
    benchmark(lambda: f"cdesk_{uuid.uuid4().hex[:8]}")


def bench_query_hash(benchmark: Benchmark) -> None:
    benchmark(cdesk_core.query_hash, TEMPLATE, PARAMS)


def bench_query_hash_hashlib_json(benchmark: Benchmark) -> None:
    def recipe() -> str:
        text = " ".join(TEMPLATE.split()) + json.dumps(
            PARAMS, sort_keys=True, separators=(",", ":")
        )
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    assert recipe() == cdesk_core.query_hash(TEMPLATE, PARAMS)
    benchmark(recipe)


def bench_cache_hit(benchmark: Benchmark) -> None:
    cache = cdesk_core.ContextCache(
        max_entries=10_000, max_bytes=64 << 20, ttl_s=3600, stale_after_s=1800
    )
    for number in range(10_000):
        cache.put(f"key{number}", b"x" * 2048)
    benchmark(cache.get, "key5000")
