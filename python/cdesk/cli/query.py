"""`cdesk query TEMPLATE -p key=value`: asks a question the way the tools do."""

from __future__ import annotations

import sys
import time
from contextlib import AbstractContextManager, nullcontext
from typing import Final

import click

from cdesk.cli.options import Seconds, texts
from cdesk.cli.output import console, json_option, print_card, print_json
from cdesk.config import Settings
from cdesk.errors import NoCardYet, QueryFailed, reason

_LOOK_EVERY_S: Final = 0.02


@click.command(epilog="Example: cdesk query tool_usage -p days=30")
@click.argument("template")
@click.option("-p", "--param", "params", metavar="KEY=VALUE", multiple=True, help="A parameter.")
@click.option(
    "--byte-cap",
    type=click.IntRange(min=1),
    help="Run on a sample above this size; the folder's own cap is the most.",
)
@click.option(
    "--timeout",
    "timeout_s",
    type=Seconds(),
    default=60.0,
    show_default=True,
    help="Seconds to wait.",
)
@json_option
@click.pass_obj
def command(
    settings: Settings,
    template: str,
    params: tuple[str, ...],
    byte_cap: int | None,
    timeout_s: float,
    as_json: bool,
) -> None:
    """Ask TEMPLATE and show its card; `cdesk templates` lists them.

    A value is what its parameter's type says: 123 is a text where a text is asked for, and so is
    null; leave an optional one out.
    """
    from cdesk.query.ticket import Ticket, TicketState
    from cdesk.seat import open_seat

    with open_seat(settings) as seat:
        ticket: Ticket = seat.queries.submit(template, texts(params), byte_cap=byte_cap)
        if sys.stderr.isatty():
            click.echo(
                f"ticket {ticket.ticket_id}; `cdesk cancel` with it stops the query", err=True
            )
        deadline = time.monotonic() + timeout_s
        with _waiting():
            while not ticket.state.is_ended:
                if time.monotonic() > deadline:
                    trouble = seat.folder.trouble() or "`cdesk status` says what the worker does"
                    seat.queries.cancel(ticket.ticket_id)
                    raise NoCardYet(
                        f"no card within {timeout_s:g} s and the query was cancelled; {trouble}"
                    )
                try:
                    seat.folder.worker.ensure()
                except OSError as error:
                    trouble = seat.folder.trouble() or reason(error)
                    seat.queries.cancel(ticket.ticket_id)
                    raise QueryFailed(f"the query was cancelled; {trouble}") from error
                time.sleep(_LOOK_EVERY_S)
                ticket = seat.queries.ticket(ticket.ticket_id)
    if ticket.state is not TicketState.DONE or ticket.card is None:
        raise ticket.failure()
    if as_json:
        print_json({"ticket_id": ticket.ticket_id, **ticket.card})
    else:
        print_card(console(), ticket.card)


def _waiting() -> AbstractContextManager[object]:
    """A sign of life on a terminal."""
    if sys.stdout.isatty():
        return console().status("waiting for the card", spinner="line")
    return nullcontext()
