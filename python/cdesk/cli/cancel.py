"""`cdesk cancel TICKET`: stops a query by the road of the tool `cancel_query`."""

from __future__ import annotations

import click

from cdesk.cli.output import console, json_option, print_json, told_as_done
from cdesk.config import Settings
from cdesk.errors import UnknownTicket


@click.command()
@click.argument("ticket")
@json_option
@click.pass_obj
def command(settings: Settings, ticket: str, as_json: bool) -> None:
    """Cancel the query of TICKET, which is queued or runs; one that has ended stays as it is.

    `cdesk status` lists those that have not ended.
    """
    from cdesk.seat import open_seat

    with open_seat(settings) as seat:
        try:
            found = seat.queries.cancel(ticket)
        except UnknownTicket as error:
            raise UnknownTicket(
                "there is no ticket of that id; `cdesk status` lists those that have not ended"
            ) from error
    said = f"{ticket}: {found.state.value}{'' if found.state.is_ended else ', and will stop'}"
    with told_as_done(said):
        if as_json:
            print_json(
                {
                    "state": found.state.value,
                    "ticket_id": found.ticket_id,
                    "is_cancel_requested": found.is_cancel_requested,
                }
            )
        else:
            console().print(said)
