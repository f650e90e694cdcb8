"""A terminal of the tests' own: what a command writes to it, byte for byte."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cdesk.config import inherited_environment
from tests.e2e.talk import make_settings


def on_a_terminal(
    folder: Path, *arguments: str, columns: int = 120, **environment: str
) -> tuple[int, bytes]:
    """`cdesk` on a pseudo-terminal: its exit code, and all that arrived on the other side."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    started = subprocess.Popen(
        [sys.executable, "-m", "cdesk", *arguments],
        env=inherited_environment(make_settings(folder)) | {"TERM": "xterm"} | environment,
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    arrived = b""
    try:
        while chunk := _read(ours):
            arrived += chunk
    finally:
        os.close(ours)
    return started.wait(), arrived


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65_536)
    except OSError:  # what Linux says once the last writer has gone
        return b""


@contextmanager
def terminal_process(folder: Path, *arguments: str) -> Iterator[tuple[int, int]]:
    """`cdesk` with a terminal as its stdin and stderr: where to type, and where to read.

    Ends when the command has.
    """
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "cdesk", *arguments],
        env=inherited_environment(make_settings(folder)),
        stdin=theirs,
        stdout=subprocess.DEVNULL,
        stderr=theirs,
    ) as started:
        os.close(theirs)
        try:
            yield ours, ours
            assert started.wait(30) == 0
        finally:
            started.kill()
            os.close(ours)
