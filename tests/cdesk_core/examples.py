"""The programs of docs/embedding.md, as they stand there."""

from __future__ import annotations

import re
import signal
import sqlite3
import subprocess
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "embedding.md"
LINES = 104
"""How many lines the examples log."""


def write_examples(folder: Path) -> list[str]:
    """Writes each example to a file of the name in its first line; the names, in order."""
    names = []
    for code in re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL):
        name = code.split("\n", 1)[0].removeprefix("# ")
        (folder / name).write_text(code)
        names.append(name)
    return names


def run_examples(python: str, folder: Path) -> list[str]:
    """Runs the examples in a folder, with warnings as errors; what they print."""
    *programs, tail = write_examples(folder)
    printed = [
        subprocess.run(
            [python, "-I", "-W", "error", name],
            cwd=folder,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        ).stdout.strip()
        for name in programs
    ]
    return [*printed, _run_tail(python, folder, tail)]


def _run_tail(python: str, folder: Path, name: str) -> str:
    """The one that never ends: until it has everything, then Ctrl-C."""
    command = [python, "-I", "-W", "error", name]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as tail:
        assert tail.stdout is not None
        stored = 0
        while stored < LINES:
            words = tail.stdout.readline().split()
            assert words, "it ended by itself"
            stored += int(words[1])
        tail.send_signal(signal.SIGINT)
        assert (tail.stdout.read(), tail.wait()) == ("", 0)
    with sqlite3.connect(folder / "events.db") as store:
        ((rows,),) = store.execute("SELECT count(DISTINCT id) FROM events").fetchall()
    store.close()
    return f"{rows} rows"
