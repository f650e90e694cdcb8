"""What every result says of itself, and the file results go to."""

from __future__ import annotations

import os
import platform
import re
import sys
from datetime import UTC, datetime
from pathlib import Path

RESULTS = Path(__file__).parents[1] / "RESULTS.md"


def described(folder: str) -> str:
    """The machine, the filesystem of a folder, the date and the versions, as one line."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        found = re.search(r"model name\s*:\s*(.+)", info.read_text())
        cpu = found[1] if found else cpu
    return (
        f"{cpu}, {os.cpu_count()} cores, {platform.system()} {platform.release()}, "
        f"{filesystem_of(folder)}, Python {sys.version.split()[0]}, "
        f"{datetime.now(UTC):%Y-%m-%d}"
    )


def filesystem_of(folder: str) -> str:
    """The type of the filesystem that holds a folder, such as `ext4`."""
    mounts = Path("/proc/mounts")
    if not mounts.exists():
        return "unknown filesystem"
    path = str(Path(folder).resolve())
    found = ("", "unknown filesystem")
    for line in mounts.read_text().splitlines():
        _, point, kind, *_ = line.split()
        is_above = path == point or path.startswith(point.rstrip("/") + "/")
        if is_above and len(point) >= len(found[0]):
            found = (point, kind)
    return found[1]


def write_section(title: str, command: str, machine: str, lines: list[str]) -> None:
    """Puts a section into RESULTS.md, in place of the one with the same title."""
    text = RESULTS.read_text() if RESULTS.exists() else "# Results\n"
    body = "\n".join([f"## {title}", "", f"`{command}` · {machine}", "", *lines, ""])
    pattern = re.compile(rf"^## {re.escape(title)}\n.*?(?=^## |\Z)", re.DOTALL | re.MULTILINE)
    if pattern.search(text):
        text = pattern.sub(lambda _: body + "\n", text)
    else:
        text = text.rstrip() + "\n\n" + body + "\n"
    RESULTS.write_text(text.rstrip() + "\n")
