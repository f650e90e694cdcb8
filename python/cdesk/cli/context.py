"""`cdesk context`: what is remembered, as the tool tells it, and all of it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any, Final

import click

from cdesk.cli.options import Seconds
from cdesk.cli.output import (
    Rows,
    Terminal,
    console,
    count,
    in_commands,
    json_option,
    print_json,
    table,
)
from cdesk.config import Settings

_LOOK_EVERY_S: Final = 0.05
_ENTRY_OF: Final = {
    "metrics": "remembered value",
    "definitions": "definition",
    "filters": "filter",
    "questions": "question",
    "recent": "recent event",
}


@click.command()
@click.option(
    "--max-bytes", type=int, help="Longest JSON, as a client may ask for it; default: all there is."
)
@click.option(
    "--wait",
    "wait_s",
    type=Seconds(),
    default=10.0,
    show_default=True,
    help="Seconds to wait for it.",
)
@json_option
@click.pass_obj
def command(settings: Settings, max_bytes: int | None, wait_s: float, as_json: bool) -> None:
    """Show what is remembered of this installation's customer."""
    from cdesk.seat import open_seat

    with open_seat(settings) as seat:
        deadline = time.monotonic() + wait_s
        found = seat.context.get(max_bytes=max_bytes)
        while found["state"] == "refreshing" and time.monotonic() < deadline:
            seat.folder.worker.ensure()
            time.sleep(_LOOK_EVERY_S)
            found = seat.context.get(max_bytes=max_bytes)
    if as_json:
        print_json(found)
        return
    terminal = console()
    if found["state"] == "refreshing":
        terminal.print(in_commands(found["next"]))
        return
    terminal.print(
        f"context of {found['customer']}, version {found['version']}, {found['age_s']:.0f} s old"
    )
    if found["metrics"]:
        terminal.print(_remembered(found["metrics"]))
    elif not _lost(found, "metrics"):
        terminal.print("nothing is remembered yet")
    if found["recent"]:
        rows = [(row["activity"], row["ts"][:19], row["occurrence"]) for row in found["recent"]]
        terminal.print(table(("activity", "when", "occurrence"), rows, title="recent"))
    elif not _lost(found, "recent"):
        terminal.print("nothing is recorded yet")
    _print_lost(terminal, found, max_bytes)


def _remembered(atoms: Iterable[Mapping[str, Any]]) -> Rows:
    columns = ("subject", "metric", "value", "where", "grain", "confidence", "query hash", "found")
    rows = [
        (
            atom["subject"],
            atom["metric"],
            atom["value"],
            _conditions(atom.get("filter", {})),
            atom.get("grain"),
            atom.get("confidence"),
            atom.get("query_hash", "none") + ("" if atom["is_verified"] else " (unverified)"),
            atom["ts"][:16],
        )
        for atom in atoms
    ]
    return table(columns, rows, title="remembered")


def _print_lost(terminal: Terminal, found: Mapping[str, Any], max_bytes: int | None) -> None:
    """Says of every part how many of its entries have no room, and the next move."""
    if unkept := _counts(found, "left_out"):
        terminal.print(
            f"without room in a context: {unkept}; `cdesk query insights_by_customer` has every "
            "value"
        )
    if dropped := _counts(found, "dropped"):
        terminal.print(
            f"without room in {max_bytes:,} bytes: {dropped}; without --max-bytes there is room"
        )


def _counts(found: Mapping[str, Any], why: str) -> str:
    lost: Mapping[str, int] = found.get(why, {})
    return ", ".join(count(number, _ENTRY_OF[part]) for part, number in lost.items())


def _lost(found: Mapping[str, Any], part: str) -> int:
    """How many entries of a part were there and have no room."""
    return sum(found.get(why, {}).get(part, 0) for why in ("left_out", "dropped"))


def _conditions(filter_: Mapping[str, Any]) -> str | None:
    """The filter a value holds under, in words for a person: two regions' values look alike."""
    return ", ".join(f"{name} = {value}" for name, value in sorted(filter_.items())) or None
