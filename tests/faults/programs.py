"""Programs under test, and strace, which makes their system calls fail."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pytest

ROOT = Path(__file__).parents[2]


class Stats(NamedTuple):
    """What a writer says of its queue."""

    lines: int
    segments: int
    poisoned_segments: int
    failed_lines: int


class Program:
    """A running program of this folder that is spoken to line by line."""

    def __init__(self, module: str, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", f"tests.faults.{module}", *arguments],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.heard: list[str] = []
        assert self.process.stdin is not None and self.process.stdout is not None
        self._in, self._out = self.process.stdin, self.process.stdout

    def tell(self, text: str) -> None:
        try:
            self._in.write(f"{text}\n".encode())
            self._in.flush()
        except BrokenPipeError:
            pass  # it was killed: what it said until then counts

    def hear(self, word: str) -> str | None:
        """Listens until a line begins with `word`; the rest of it, None when it died."""
        while (text := self._hear_line()) is not None:
            if text.split(" ", 1)[0] == word:
                return text[len(word) + 1 :]
            self.heard.append(text)
        return None

    def hear_one(self) -> bool:
        """Listens for one line; False when it died."""
        text = self._hear_line()
        if text is not None:
            self.heard.append(text)
        return text is not None

    def _hear_line(self) -> str | None:
        said = self._out.readline()
        # without its end: it died while it spoke
        return said.decode().rstrip("\n") if said.endswith(b"\n") else None

    def append(self, first: int, count: int) -> Stats | None:
        """Appends lines; None when the program died of it."""
        self.tell(f"append {first} {count}")
        said = self.hear("done")
        return None if said is None else Stats(*map(int, said.split()))

    def all_said(self, word: str) -> list[list[str]]:
        return [rest.split(" ") for first, _, rest in map(split, self.heard) if first == word]

    @property
    def acknowledged(self) -> set[int]:
        return {int(said[0]) for said in self.all_said("ok")}

    def kill(self) -> None:
        self.process.kill()
        self.hear("")
        self.end()

    def end(self) -> int:
        """Lets it end; its exit code."""
        self._in.close()
        code = self.process.wait()
        self._out.close()
        return code


def split(text: str) -> tuple[str, str, str]:
    return text.partition(" ")


@contextmanager
def program(
    module: Literal["writer", "reader"], directory: Path, **options: Any
) -> Iterator[Program]:
    """A program that is ready, and does not outlive the block."""
    started = Program(module, str(directory), json.dumps(options))
    try:
        if started.hear("ready") is None:
            raise AssertionError(f"the {module} did not start")
        yield started
    finally:
        if not started._out.closed:
            started.process.kill()
            started.end()


@contextmanager
def injected(program: Program, calls: str, fault: str) -> Iterator[None]:
    """Makes system calls of a running program fail, counted from the start of the block."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace is not installed")
    calls = ",".join(f"?{call}" for call in calls.split(","))  # not every machine has every call
    attach = ("-f", "-p", str(program.process.pid), "-o", os.devnull)
    tracer = subprocess.Popen(
        [strace, *attach, "-e", f"trace={calls}", "-e", f"inject={calls}:{fault}"],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert tracer.stderr is not None
    try:
        said = tracer.stderr.readline()
        if "attached" not in said:
            pytest.skip(f"strace may not attach to a process here: {said.strip()}")
        yield
    finally:
        tracer.send_signal(signal.SIGINT)  # lets the program go, unhurt
        tracer.stderr.read()
        tracer.stderr.close()
        tracer.wait()
