"""A process that consumes a log as an uploader does, into a sink that is its parent.

    python -m tests.faults.reader DIRECTORY

It says `ready`; on a line of input it stores batch after batch (`stored POSITION IDS`, in one
write, so that ids and position are there together or not at all), commits, prunes, and says `done`.
"""

from __future__ import annotations

import os
import sys

from cdesk_core import Consumer

from tests.faults.lines import numbers


def say(text: str) -> None:
    os.write(1, f"{text}\n".encode())


def main() -> None:
    say("ready")
    sys.stdin.readline()
    with Consumer(sys.argv[1], "uploader") as consumer:
        while batch := consumer.next_batch(max_lines=3):
            say(f"stored {batch.position} {' '.join(map(str, numbers(batch.ndjson)))}")
            consumer.commit(batch)
            consumer.prune(batch.position, min_age_s=0)
    say("done")


if __name__ == "__main__":
    main()
