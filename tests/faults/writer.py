"""A process that appends what it is told to, and says of each line what became of it.

    python -m tests.faults.writer DIRECTORY '{"max_segment_bytes": …}'

It says `ready`; takes `append FIRST COUNT` or `close`; says `ok ID`, or `no ID ERRNO FILENAME`,
after the append of that line returned, and `done STATS` in the end.
"""

from __future__ import annotations

import json
import os
import sys

from cdesk_core import Queue

from tests.faults.lines import line


def say(text: str) -> None:
    os.write(1, f"{text}\n".encode())


def append(queue: Queue, number: int) -> None:
    try:
        queue.append(line(number))
    except OSError as error:
        say(f"no {number} {error.errno} {error.filename}")
    else:
        say(f"ok {number}")


def main() -> None:
    queue = Queue(sys.argv[1], **json.loads(sys.argv[2]))
    say("ready")
    for told in sys.stdin:
        match told.split():
            case ["append", first, count]:
                for number in range(int(first), int(first) + int(count)):
                    append(queue, number)
            case ["close"]:
                try:
                    queue.close()
                except OSError as error:
                    say(f"no close {error.errno} {error.filename}")
        stats = queue.stats()
        say(f"done {stats.lines} {stats.segments} {stats.poisoned_segments} {stats.failed_lines}")


if __name__ == "__main__":
    main()
