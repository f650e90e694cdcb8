"""`cdesk copy FILE`: the warehouse as a file of one's own, for tools that read it at leisure."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Final

import click

from cdesk.cli.options import Seconds
from cdesk.cli.output import console, json_option, print_json, told_as_done
from cdesk.config import Settings
from cdesk.errors import InvalidArgument, WarehouseBusy

_TRY_EVERY_S: Final = 0.005  # between two units of work the worker may let go for no longer


@click.command(epilog="Example: cdesk copy monday.duckdb && duckdb -readonly monday.duckdb")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--timeout",
    "timeout_s",
    type=Seconds(),
    default=30.0,
    show_default=True,
    help="Seconds to wait for the worker's next pause.",
)
@json_option
@click.pass_obj
def command(settings: Settings, file: Path, timeout_s: float, as_json: bool) -> None:
    """Copy the warehouse to FILE, whole and as of one moment, while logging goes on.

    Any DuckDB from 1.4 on opens it. What is still on its way from the log is not in it; `cdesk
    status` shows how much that is. FILE must not be there yet.
    """
    from cdesk.warehouse.opening import open_warehouse

    if os.path.lexists(file):
        raise InvalidArgument(f"{file} is there already; name another file or move it away")
    warehouse = open_warehouse(settings)
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            size = warehouse.copy(file)
        except WarehouseBusy:
            if time.monotonic() > deadline:
                raise
            time.sleep(_TRY_EVERY_S)
        else:
            break
    with told_as_done(f"the copy is at {file}"):
        if as_json:
            print_json({"file": str(file), "bytes": size})
        else:
            console().print(f"{file}: {size:,} bytes", markup=False, highlight=False)
