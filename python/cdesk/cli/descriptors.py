"""Stdin, stdout and stderr, of which whoever started the process may have closed some.

Invariants: after `hold_standard` all three are there, as descriptors and as streams; a file that is
opened later never gets the number of one, so what is meant for a person or a client is not written
into it. After `let_readers_leave` a pipe that nobody reads any more fails no command: what is
written into it goes nowhere.
"""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_STDERR: Final = 2
_STREAMS: Final = {"stdin": "rb", "stdout": "wb", "stderr": "wb"}


class Nowhere(io.TextIOWrapper):
    """The stream in the place of one that is closed: it takes everything and gives nothing."""


class _Leavable(io.FileIO):
    """A descriptor whose reader may leave, which is no failure; then nobody gets what it takes.

    Stdout fails once at most, and not again for what its buffer still has. What stderr does not
    take can be told nowhere: it is lost, and what comes later is tried again.
    """

    has_left = False
    _has_failed = False

    def write(self, data: ReadableBuffer, /) -> int:
        """As `FileIO.write`, but for what the class says."""
        if not (self.has_left or self._has_failed):
            try:
                return super().write(data)
            except BrokenPipeError:
                self.has_left = True
            except OSError:
                if self.fileno() != _STDERR:
                    self._has_failed = True
                    raise
            except KeyboardInterrupt:
                # it may be written already, of which the buffer does not know: it would write it
                # again when it is closed
                self._has_failed = self.fileno() != _STDERR
                raise
        return memoryview(data).nbytes


def hold_standard() -> None:
    """Puts the null device in the place of the standard descriptors and streams that are closed."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free: this one
    for name, mode in _STREAMS.items():
        if getattr(sys, name) is None:
            # for as long as the process lives, as the one that it stands for
            setattr(sys, name, Nowhere(Path(os.devnull).open(mode), encoding="utf-8"))  # noqa: SIM115


def let_readers_leave() -> None:
    """Makes stdout and stderr go nowhere once they are a pipe that nobody reads any more.

    A stream that is not the process's own, as a test's or an embedder's, stays as it is.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is not getattr(sys, f"__{name}__"):
            continue
        raw = _Leavable(stream.fileno(), "wb", closefd=False)
        instead = io.TextIOWrapper(
            io.BufferedWriter(raw),
            encoding=stream.encoding,
            errors=stream.errors,
            line_buffering=stream.line_buffering,
            write_through=stream.write_through,
        )
        setattr(sys, name, instead)


def has_reader_left() -> bool:
    """Whether something was written to stdout that nobody read, and nobody will."""
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    return isinstance(raw, _Leavable) and raw.has_left
