"""Stdin, stdout and stderr, of which whoever started the process may have closed some.

Invariant: after `hold_standard` all three are there, as descriptors and as streams; a file that is
opened later never gets the number of one, so what is meant for a person or a client is not written
into it.
"""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from typing import Final

_STREAMS: Final = {"stdin": "rb", "stdout": "wb", "stderr": "wb"}


class Nowhere(io.TextIOWrapper):
    """The stream in the place of one that is closed: it takes everything and gives nothing."""


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


def discard_stdout() -> None:
    """Lets what is still to go out through a broken stdout go nowhere: no more errors at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
