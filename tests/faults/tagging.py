"""Processes that take query tags as fast as they can, some of which are killed.

    python -m tests.faults.tagging DIRECTORY TAGS PROCESSES KILLS SEED

It prints what became of everything as one JSON document. What a tag has beside its constant part is
a number of 32 bits; a process hands them over in pieces, the last of which its death may take away.
"""

from __future__ import annotations

import json
import os
import random
import select
import signal
import sys
from array import array
from pathlib import Path
from typing import NoReturn

from cdesk_core import QueryTags

PIECE_TAGS = 10_000
PIECE_BYTES = 4 * PIECE_TAGS


def take(directory: Path, to: int) -> NoReturn:
    """Takes tags until it is killed."""
    tags = QueryTags(directory)
    while True:
        piece = array("I", (int(tags.next()[6:], 16) for _ in range(PIECE_TAGS)))
        left = memoryview(piece).cast("B")
        while left:
            left = left[os.write(to, left) :]


class Takers:
    """A number of processes, and the tags that came from them."""

    def __init__(self, directory: Path, processes: int) -> None:
        self.directory = directory
        self.child_of: dict[int, int] = {}
        self.begun: dict[int, bytearray] = {}
        self.tags = array("I")
        for _ in range(processes):
            self.start()

    def start(self) -> None:
        receive, send = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(receive)
            try:
                take(self.directory, send)
            finally:
                os._exit(1)
        os.close(send)
        self.child_of[receive], self.begun[receive] = child, bytearray()

    def listen(self) -> None:
        """Takes in what the processes have to hand over."""
        for receive in select.select(list(self.child_of), [], [])[0]:
            begun = self.begun[receive]
            begun += os.read(receive, 1 << 16)
            whole = len(begun) - len(begun) % 4
            self.tags.frombytes(bytes(begun[:whole]))
            del begun[:whole]

    def kill(self, receive: int) -> None:
        """Kills a process; what it had written is still taken in."""
        os.kill(self.child_of[receive], signal.SIGKILL)
        _, status = os.waitpid(self.child_of.pop(receive), 0)
        assert os.WTERMSIG(status) == signal.SIGKILL, f"a process ended by itself: {status}"
        with open(receive, "rb") as rest:
            begun = self.begun.pop(receive) + rest.read()
        self.tags.frombytes(bytes(begun[: len(begun) - len(begun) % 4]))


def distinct(tags: array[int]) -> int:
    """How many different tags there are, without a set of all of them."""
    parts = [array("I") for _ in range(256)]
    for tag in tags:
        parts[tag >> 24].append(tag)
    return sum(len(set(part)) for part in parts)


def main() -> None:
    _, directory, count, processes, kills, seed = sys.argv
    wanted, chance = int(count), random.Random(int(seed))
    takers = Takers(Path(directory), int(processes))
    killed = 0
    while len(takers.tags) < wanted:
        takers.listen()
        if killed < int(kills) and len(takers.tags) > wanted * killed / int(kills):
            takers.kill(chance.choice(list(takers.child_of)))
            takers.start()
            killed += 1
    for receive in list(takers.child_of):
        takers.kill(receive)
    result = {"tags": len(takers.tags), "distinct": distinct(takers.tags), "kills": killed}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
