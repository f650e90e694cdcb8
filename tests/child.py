"""Another process, spoken to line by line: no test has to guess when it got somewhere."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from textwrap import dedent


class Child:
    """A Python process that runs `code`; `sys.argv[1:]` are the arguments."""

    def __init__(self, code: str, *arguments: object) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", dedent(code), *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def hears(self) -> str:
        """The next line the child prints, without its end; empty when it has ended."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().rstrip("\n")

    def tell(self, line: str = "") -> None:
        """Gives the child a line for its `input()`."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def kill(self) -> None:
        """Kills it as a power cut would, with SIGKILL, and waits until it is gone."""
        self.process.kill()
        assert self.process.wait() == -signal.SIGKILL

    def ends(self) -> int:
        """Waits for its end and returns its exit code."""
        return self.process.wait()


@contextmanager
def child(code: str, *arguments: object) -> Iterator[Child]:
    """A child for the length of a block; it does not outlive it."""
    started = Child(code, *arguments)
    try:
        yield started
    finally:
        if started.process.poll() is None:
            started.process.kill()
        started.process.wait()
        for pipe in (started.process.stdin, started.process.stdout):
            if pipe is not None:
                pipe.close()
