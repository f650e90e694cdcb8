"""`cdesk flag`: switches that every process of the data folder obeys."""

from __future__ import annotations

import time
from collections.abc import Collection
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from cdesk.cli.options import Words
from cdesk.cli.output import console, json_option, print_json, table, told_as_done
from cdesk.config import Settings
from cdesk.errors import InvalidArgument

if TYPE_CHECKING:
    from cdesk.state import Flag


@click.command(epilog="Example: cdesk flag kill_switch --set 'credits are used up'")
@click.argument("name", required=False)
@click.option(
    "--set",
    "reason",
    metavar="REASON",
    type=Words("reason"),
    help="Set the flag; clients are told why.",
)
@click.option("--clear", is_flag=True, help="Clear the flag.")
@json_option
@click.pass_obj
def command(
    settings: Settings, name: str | None, reason: str | None, clear: bool, as_json: bool
) -> None:
    """Switch queries off and on, for every process and across restarts.

    NAME is kill_switch (no new queries at all) or block:TEMPLATE (none of one template). Without
    NAME, show the flags that are set.
    """
    from cdesk.folder_settings import in_force
    from cdesk.query.service import KILL_SWITCH, block_flag
    from cdesk.safesql.catalog import load_catalog
    from cdesk.state import State

    if name is None and (reason is not None or clear):
        raise InvalidArgument("name the flag: kill_switch, or block: and a template's name")
    settings.create_folders()
    with State(settings.state_path) as state:
        if name is not None:
            catalog = load_catalog(in_force(settings))
            known = {KILL_SWITCH, *(block_flag(entry.name) for entry in catalog)}
            is_left = clear and name in state.flags()  # of a template that is there no more
            if name not in known and not is_left:
                raise InvalidArgument(
                    f"there is no flag {name!r}; use kill_switch, or block: and a template's name"
                )
            if (reason is None) is not clear:
                raise InvalidArgument("give either --set REASON or --clear")
            if reason is not None:
                state.set_flag(name, reason, time.time())
            else:
                state.clear_flag(name)
        flags = state.flags()
    if name is None:
        _print(flags.values(), as_json=as_json)
    else:
        with told_as_done(f"{name} is {'set' if name in flags else 'cleared'}"):
            _print(flags.values(), as_json=as_json)


def _print(flags: Collection[Flag], *, as_json: bool) -> None:
    if as_json:
        print_json({flag.name: {"reason": flag.reason, "set_at": flag.set_at} for flag in flags})
    elif flags:
        rows = [
            (flag.name, flag.reason, f"{datetime.fromtimestamp(flag.set_at, UTC):%Y-%m-%d %H:%M}")
            for flag in flags
        ]
        console().print(table(("flag", "reason", "since (UTC)"), rows))
    else:
        console().print("no flag is set; queries run")
