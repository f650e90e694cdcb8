"""Does a segment's end hold anybody up?

One producer, with a segment every few hundred lines and with none that ends; the slowest of a
thousand appends is the one that met a rotation.
"""

from __future__ import annotations

import time

import cdesk_core

from peers.settings import LINE, Run
from peers.table import Subject, median, milliseconds, percentile

SEGMENT_BYTES = 128 << 10
"""About 380 lines: 2.6 rotations in a thousand appends."""
APPENDS = 4_000


def rotation(run: Run) -> Subject:
    """The tail of appends with rotations, beside the tail without."""
    subject = Subject("rotation", heads=("p50", "p99", "p99.9", "worst"))
    names = {"a rotation every 380 appends": SEGMENT_BYTES, "no rotation": 1 << 40}
    tails: dict[str, list[list[float]]] = {name: [] for name in names}
    for number in range(run.rounds):
        for name, max_segment_bytes in names.items():
            folder = run.folder / f"rotation-{number}-{max_segment_bytes}"
            taken = _appends(str(folder), max_segment_bytes, round(APPENDS * run.seconds))
            tails[name].append([percentile(taken, share) for share in (0.5, 0.99, 0.999, 1)])
    with_rotation, without = tails.values()
    because = [max(0.0, a[2] - b[2]) for a, b in zip(with_rotation, without, strict=True)]
    subject.at_most("p99.9 of appends", 2.0, [tail[2] for tail in with_rotation], milliseconds)
    subject.at_most("p99.9 of appends, beyond that without rotation", 2.0, because, milliseconds)
    for name, found in tails.items():
        subject.tell(name, *(milliseconds(median([tail[at] for tail in found])) for at in range(4)))
    return subject


def _appends(folder: str, max_segment_bytes: int, appends: int) -> list[float]:
    taken = []
    with cdesk_core.Queue(folder, max_segment_bytes=max_segment_bytes) as queue:
        append, clock = queue.append, time.perf_counter
        for _ in range(appends):
            began = clock()
            append(LINE)
            taken.append((clock() - began) * 1e3)
    return taken
