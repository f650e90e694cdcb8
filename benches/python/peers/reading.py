"""The consumer: every line verified, from files in the page cache, on one thread."""

from __future__ import annotations

import json
import time
import zlib
from pathlib import Path

import cdesk_core

from peers.settings import LINE, Run
from peers.stores import OURS
from peers.table import Subject, divided, median, per_second, ratio

LINES_PER_S = 200_000
BOUND_BYTES, BOUND_LINES = 1e9, 2e6


def consumer(run: Run) -> Subject:
    """Lines and bytes a second, beside reading without and with a check in Python."""
    subject = Subject("consumer, warm files", heads=("lines/s", "GB/s", "ours / theirs"))
    folder = run.folder / "reading"
    lines = round(LINES_PER_S * max(run.seconds, 0.5))
    with cdesk_core.Queue(folder, durability="os") as queue:
        for _ in range(lines // 1_000):
            queue.append_many([LINE] * 1_000)
    files = sorted(folder.glob("*.ndjson"))
    total = sum(file.stat().st_size for file in files)
    ways = {
        OURS: lambda: _ours(folder),
        "split lines, crc32, json.loads in Python": lambda: _python(files),
        "read() alone": lambda: sum(len(file.read_bytes()) for file in files),
    }
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(run.rounds):
        for name, way in ways.items():
            began = time.perf_counter()
            way()
            rates[name].append(lines / (time.perf_counter() - began))
    ours = rates[OURS]
    share = [max(rate / BOUND_LINES, rate * total / lines / BOUND_BYTES) for rate in ours]
    subject.at_least("of 1 GB/s or 2 million lines/s, the nearer", 1.0, share, ratio)
    for name, values in rates.items():
        bytes_per_s = median(values) * total / lines
        compared = ratio(median(divided(ours, values)))
        subject.tell(name, per_second(median(values)), f"{bytes_per_s / 1e9:.2f}", compared)
    return subject


def _ours(folder: Path) -> int:
    with cdesk_core.Consumer(folder) as consumer:
        lines = 0
        while batch := consumer.next_batch():
            lines += batch.lines
    return lines


def _python(files: list[Path]) -> int:
    lines = 0
    for file in files:
        for line in file.read_bytes().splitlines():
            zlib.crc32(line)
            json.loads(line)
            lines += 1
    return lines
