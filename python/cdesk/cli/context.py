"""`cdesk context`: what is remembered, as the tool tells it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Final

import click

from cdesk.cli.options import Seconds
from cdesk.cli.output import console, in_commands, json_option, print_json, table
from cdesk.config import Settings
from cdesk.context.reader import DEFAULT_MAX_BYTES

_LOOK_EVERY_S: Final = 0.05


@click.command()
@click.option("--max-bytes", default=DEFAULT_MAX_BYTES, show_default=True, help="Longest JSON.")
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
def command(settings: Settings, max_bytes: int, wait_s: float, as_json: bool) -> None:
    """Show what is remembered of this installation's customer."""
    from cdesk.desk import Desk

    with Desk(settings) as desk:
        deadline = time.monotonic() + wait_s
        found = desk.context.get(max_bytes=max_bytes)
        while found["state"] == "refreshing" and time.monotonic() < deadline:
            desk.worker.ensure()
            time.sleep(_LOOK_EVERY_S)
            found = desk.context.get(max_bytes=max_bytes)
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
        terminal.print(
            table(
                (
                    "subject",
                    "metric",
                    "value",
                    "where",
                    "grain",
                    "confidence",
                    "query hash",
                    "found",
                ),
                [
                    (
                        atom["subject"],
                        atom["metric"],
                        atom["value"],
                        _conditions(atom.get("filter", {})),
                        atom.get("grain"),
                        atom.get("confidence"),
                        atom.get("query_hash", "none")
                        + ("" if atom["is_verified"] else " (unverified)"),
                        atom["ts"][:16],
                    )
                    for atom in found["metrics"]
                ],
                title="remembered",
            )
        )
    if count := found.get("left_out", {}).get("metrics"):
        terminal.print(
            f"{count:,} more remembered, without room in a context: `cdesk query "
            "insights_by_customer`"
        )
    terminal.print(
        table(
            ("activity", "when", "occurrence"),
            [(row["activity"], row["ts"][:19], row["occurrence"]) for row in found["recent"]],
            title="recent",
        )
    )


def _conditions(filter_: Mapping[str, Any]) -> str | None:
    """The filter a value holds under, in words for a person: two regions' values look alike."""
    return ", ".join(f"{name} = {value}" for name, value in sorted(filter_.items())) or None
