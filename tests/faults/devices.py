"""Filesystems of our own: one that is full at once, and ones whose power can be cut."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


def run(*command: str | Path) -> str:
    """Runs a program of the system, which must succeed."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    program = shutil.which(str(command[0]), path=path)
    if program is None:
        raise FileNotFoundError(f"{command[0]} is not installed")
    done = subprocess.run([program, *command[1:]], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise OSError(f"{command[0]}: {done.stderr.strip()}")
    return done.stdout.strip()


def prepare(*command: str | Path) -> str:
    """The same where a machine may not allow it: that is a skip which says so."""
    try:
        return run(*command)
    except OSError as error:
        pytest.skip(f"this machine has no such filesystem for us: {error}")


@contextmanager
def tmpfs(at: Path, size: str) -> Iterator[Path]:
    """A filesystem in memory that holds so much and no more."""
    at.mkdir()
    prepare("mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "tmpfs", at)
    try:
        yield at
    finally:
        run("umount", "--lazy", at)  # what failed in the block may have a file open


class Disk:
    """A filesystem in a file, and the switch that cuts its power."""

    def __init__(self, folder: Path, kind: str, size_bytes: int) -> None:
        self.image, self.at = folder / f"{kind}.img", folder / kind
        self.at.mkdir()
        self.image.touch()
        os.truncate(self.image, size_bytes)
        prepare(f"mkfs.{kind}", "-q", self.image)
        self.device = prepare("losetup", "-f", "--show", self.image)

    def power_on(self) -> None:
        run("mount", self.device, self.at)

    def cut_power(self) -> None:
        """From now on nothing reaches the disk, not even what the filesystem has in its journal."""
        run("xfs_io", "-x", "-c", "shutdown", self.at)

    def power_off(self) -> None:
        """Forgets all that is only in memory; nobody may have a file open.

        The kernel may still be closing those of a process that has just died.
        """
        for _ in range(100):
            try:
                run("umount", self.at)
            except OSError as error:
                busy = error
            else:
                return
        raise busy


@contextmanager
def disk(folder: Path, kind: str) -> Iterator[Disk]:
    """A disk that is on for the block."""
    made = Disk(folder, kind, size_bytes=320 << 20)  # the smallest that mkfs.xfs makes
    try:
        prepare("mount", made.device, made.at)
        prepare("xfs_io", "-V")
        yield made
    finally:
        if made.at.is_mount():
            run("umount", "--lazy", made.at)
        run("losetup", "-d", made.device)  # when it is free
