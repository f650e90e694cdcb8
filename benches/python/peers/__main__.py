"""Measures every bar and writes RESULTS.md.

python -m peers [--quick] [--only SUBJECT] [--folder DIR] [--rounds 5] [--seconds 1.0]
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from peers import caches, calls, loops, memory, producers, reading, rotation, users
from peers.settings import Run, skipped
from peers.table import HEAD, Subject
from results import described, write_section

SUBJECTS: dict[str, Callable[[Run], Subject]] = {
    "one": producers.one_producer,
    "threads-64": partial(producers.many_producers, threads=64),
    "threads-1000": partial(producers.many_producers, threads=1_000),
    "asyncio-64": partial(loops.in_flight, tasks=64),
    "asyncio-1000": partial(loops.in_flight, tasks=1_000),
    "users": users.poisson,
    "busy": loops.beside_a_busy_thread,
    "rotation": rotation.rotation,
    "tags": calls.tags,
    "hashes": calls.hashes,
    "cache": caches.cache_hits,
    "consumer": reading.consumer,
    "memory": memory.memory,
}


def main() -> None:
    """Runs the subjects one after another; says how many bars are met."""
    parser = argparse.ArgumentParser(description="cdesk_core beside its peers")
    parser.add_argument("--quick", action="store_true", help="2 rounds of 0.3 s; writes no results")
    parser.add_argument("--only", choices=SUBJECTS, action="append", help="writes no results")
    parser.add_argument("--rounds", type=int, default=5, help="rounds; medians are printed")
    parser.add_argument("--seconds", type=float, default=1.0, help="of each peer in each round")
    parser.add_argument("--folder", type=Path, help="on the filesystem to measure")
    options = parser.parse_args()
    rounds, seconds = (2, 0.3) if options.quick else (options.rounds, options.seconds)
    bars, figures = list(HEAD), []
    met = count = 0
    folder = Path(tempfile.mkdtemp(prefix="cdesk-peers-", dir=options.folder))
    try:
        for name in options.only or SUBJECTS:
            own = folder / name
            own.mkdir(mode=0o700)
            subject = SUBJECTS[name](Run(own, rounds, seconds))
            rows = [bar.line(subject.title) for bar in subject.bars]
            print("\n".join([*rows, *subject.lines()]), flush=True)
            bars += rows
            figures += ["", *subject.lines()[:-1]]
            met += sum(bar.is_met for bar in subject.bars)
            count += len(subject.bars)
            shutil.rmtree(own)
        machine = described(str(folder))
    finally:
        shutil.rmtree(folder)
    told = [f"{met} of {count} bars are met. {len(skipped)} peers were skipped."]
    told += [f"- skipped {reason}" for reason in skipped]
    print("\n".join(["", *bars, "", *told]))
    if not (options.quick or options.only):
        command = f"make bench-peers ({rounds} rounds of {seconds:g} s, interleaved; medians)"
        write_section("The core beside its peers", command, machine, [*bars, "", *told, *figures])
    sys.stdout.flush()


if __name__ == "__main__":
    main()
