"""What a disk does for us: making what was written outlast the power supply, and having room."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Final

LEAST_FREE_BYTES: Final = 1 << 20
"""With less of it left a disk is called full."""


def has_room(folder: Path) -> bool:
    """Whether the disk of a folder has `LEAST_FREE_BYTES` left, or cannot be asked."""
    try:
        return shutil.disk_usage(folder).free >= LEAST_FREE_BYTES
    except OSError:
        return True


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
