"""How much a process grows, seen from outside: a new one for every figure."""

from __future__ import annotations

import subprocess
import sys
import tempfile

from peers.settings import Run
from peers.table import Subject, mebibytes, median

SELF = """
import sys
def resident():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))
resident()
"""

OPEN_QUEUE = """
import cdesk_core
queue = cdesk_core.Queue(sys.argv[1])
for number in range(2000):
    queue.append(b'{"text":"%s"}' % (b"x" * 288))
"""


def grown_by(before: str, code: str) -> float:
    """The MiB of resident memory that a new Python process gains by running `code`."""
    script = f"{SELF}\n{before}\nbegan = resident()\n{code}\nprint(resident() - began)"
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", script, folder]
        told = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(told.stdout) / 1024


def memory(run: Run) -> Subject:
    """An open queue that has taken 2,000 lines, its import included, over bare Python."""
    subject = Subject("memory of an open queue", heads=("MiB",))
    values = [grown_by("", OPEN_QUEUE) for _ in range(run.rounds)]
    subject.at_most("over bare Python", 3, values, mebibytes)
    subject.tell("import, open, 2,000 appends", mebibytes(median(values)))
    imports = [grown_by("", "import cdesk_core") for _ in range(run.rounds)]
    subject.tell("the import alone", mebibytes(median(imports)))
    return subject
