"""Ships a folder's log and kills itself with SIGKILL at the n-th step: `FOLDER N`.

Prints nothing; exits with 0 when it came to the end before step n.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import cdesk_core

from cdesk.uploader import Uploader
from cdesk.warehouse.duckdb import DuckDBWarehouse


def main(folder: Path, kill_at: int) -> None:
    """Ships everything, or dies at the step."""
    steps = 0

    def step(_: str) -> None:
        nonlocal steps
        steps += 1
        if steps == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    warehouse = DuckDBWarehouse(
        folder / "warehouse.duckdb", schema="ACTIVITIES", artifacts_dir=folder / "artifacts"
    )
    # one session, as the worker has it: a commit stays in DuckDB's write-ahead log until the end
    with cdesk_core.Consumer(folder / "queue") as consumer, warehouse.session():
        uploader = Uploader(consumer, warehouse, step=step)
        while uploader.ship() is not None:
            pass
        uploader.tidy(min_age_s=0)


main(Path(sys.argv[1]), int(sys.argv[2]))
