"""One parent that forks writers and kills each of them somewhere, and a consumer that reads along.

    python -m tests.faults.killing DIRECTORY KILLS SEED

It prints what became of everything as one JSON document.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from threading import Thread
from typing import NoReturn

from cdesk_core import Consumer, Queue

from tests.faults.lines import line, numbers

LIFE = 100_000
"""The numbers one writer may use."""
KINDS = ("one", "many", "threads")
SEGMENT_BYTES = (1, 150, 2_000, 50_000_000)


def write(directory: Path, kind: str, first: int, max_segment_bytes: int, to: int) -> NoReturn:
    """Appends until it is killed; says of each line that it is durable, after append returned."""
    queue = Queue(directory, max_segment_bytes=max_segment_bytes)

    def lines_from(first: int, step: int) -> None:
        for number in range(first, first + LIFE, step):
            if kind == "many":
                queue.append_many([line(number + n) for n in range(step)])
                os.write(to, b"".join(b"%d\n" % (number + n) for n in range(step)))
            else:
                queue.append(line(number))
                os.write(to, b"%d\n" % number)

    if kind == "threads":
        for n in range(1, 3):
            Thread(target=lines_from, args=(first + n, 3), daemon=True).start()
    lines_from(first, {"one": 1, "many": 4, "threads": 3}[kind])
    raise AssertionError("nobody killed it")


class Run:
    """What was acknowledged and delivered over all lives."""

    def __init__(self, directory: Path, seed: int) -> None:
        self.directory = directory
        self.chance = random.Random(seed)
        self.acknowledged: set[int] = set()
        self.delivered: Counter[int] = Counter()
        self.kills = self.damaged_lines = self.torn_bytes = 0

    def kill_one(self) -> None:
        """One life of one writer."""
        receive, send = os.pipe()
        kind, size = self.chance.choice(KINDS), self.chance.choice(SEGMENT_BYTES)
        child = os.fork()
        if child == 0:
            os.close(receive)
            try:
                write(self.directory, kind, self.kills * LIFE, size, send)
            finally:
                os._exit(1)
        os.close(send)
        with open(receive, "rb") as said:
            seen = [said.readline() for _ in range(self.chance.randrange(12))]
            until = time.perf_counter() + self.chance.random() * 0.004
            while time.perf_counter() < until:
                pass  # a sleep is too coarse: an append takes about a millisecond
            if self.kills % 5 == 0:
                self.read()  # while it writes
            os.kill(child, signal.SIGKILL)
            seen += said.readlines()
        _, status = os.waitpid(child, 0)
        assert os.WTERMSIG(status) == signal.SIGKILL, f"a writer ended by itself: {status}"
        self.kills += 1
        self.acknowledged |= {int(text) for text in seen if text.endswith(b"\n")}

    def read(self) -> None:
        """One life of the consumer, which deletes what it delivered."""
        with Consumer(self.directory) as consumer:
            while batch := consumer.next_batch():
                self.delivered.update(numbers(batch.ndjson))
                consumer.commit(batch)
                consumer.prune(batch.position, min_age_s=0)
            stats = consumer.stats()
            self.damaged_lines += stats.damaged_lines
            self.torn_bytes += stats.torn_bytes


def main() -> None:
    run = Run(Path(sys.argv[1]), seed=int(sys.argv[3]))
    while run.kills < int(sys.argv[2]):
        run.kill_one()
    run.read()
    result = {
        "kills": run.kills,
        "acknowledged": len(run.acknowledged),
        "delivered": len(run.delivered),
        "lost": len(run.acknowledged - run.delivered.keys()),
        "twice": sum(count - 1 for count in run.delivered.values()),
        "damaged": run.damaged_lines,
        "torn_bytes": run.torn_bytes,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
