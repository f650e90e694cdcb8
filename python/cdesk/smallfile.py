"""Small files that people put down: read whole, and never waited for.

Invariants: only a regular file is read, so a FIFO, a device or a socket in its place neither blocks
nor fills the memory; no more than the bytes allowed are read.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path


def read_small(path: Path, max_bytes: int) -> bytes:
    """The content of a regular file of at most `max_bytes`.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no regular file, or longer.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ValueError("is not a regular file")
    with os.fdopen(descriptor, "rb") as file:
        content = file.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise ValueError(f"is too long; at most {max_bytes:,} bytes are read")
    return content
