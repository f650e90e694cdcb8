"""Making what was written outlast the power supply."""

from __future__ import annotations

import os
from pathlib import Path


def sync(path: Path) -> None:
    """Returns when the content of a file, or the names in a folder, are on the device.

    Raises:
        OSError: it cannot be opened, or nobody knows what the device has.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
