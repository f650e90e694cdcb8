"""`cdesk status`: the log, the backlog, the open tickets, the worker and the warehouse."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import click

from cdesk.cli.output import console, json_option, print_json, table
from cdesk.config import Settings

if TYPE_CHECKING:
    from cdesk.query.ticket import Ticket


@click.command()
@json_option
@click.pass_obj
def command(settings: Settings, as_json: bool) -> None:
    """Show the log, the backlog, the open tickets, the worker and the warehouse.

    Starts nothing, and records nothing.

    worker_stored_events are those that this worker stored since it started, or the last one did
    before it left. open_tickets counts those of all customers; listed are the customer's own.
    """
    found = read_status(settings)
    if as_json:
        print_json(found)
        return
    terminal = console()
    tickets = found.pop("tickets", [])
    terminal.print(table(("what", "now"), [(key, value) for key, value in found.items()]))
    if tickets:
        rows = [(one["ticket_id"], one["template"], one["state"], one["age_s"]) for one in tickets]
        columns = ("ticket", "template", "state", "age, s")
        title = "open tickets; `cdesk cancel TICKET` stops one"
        terminal.print(table(columns, rows, title=title))


def read_status(settings: Settings) -> dict[str, Any]:
    """What can be known of a data folder without starting or recording anything.

    Raises:
        ConfigError: it is one that no command works in.
    """
    import cdesk_core

    from cdesk import presence
    from cdesk.disagreement import others_told_otherwise
    from cdesk.folder_settings import differences
    from cdesk.query.ticket import Tickets
    from cdesk.state import State
    from cdesk.trouble import find_trouble, what_waits
    from cdesk.uploader import CONSUMER

    settings.look_at_folders()
    found: dict[str, Any] = {
        "data_dir": str(settings.data_dir),
        "customer": settings.customer,
        "warehouse": settings.warehouse,
    }
    backlog = cdesk_core.backlog(settings.queue_dir, CONSUMER)
    found["backlog_events"] = backlog.lines
    found["unreadable_segments"] = backlog.unreadable_segments
    if not (settings.state_path.exists() or backlog.segments):
        return found | {"state": "nothing here yet; start `cdesk serve` or import an export"}
    found["log_bytes"] = sum(path.stat().st_size for path in settings.queue_dir.glob("seg-*"))
    found["damaged_files"] = sum(1 for _ in (settings.queue_dir / "damaged").glob("*"))
    is_there = presence.is_worker_there(settings.data_dir)
    told = differences(settings)
    found["settings"] = "; ".join(told) or "as the folder's"
    heartbeat = snapshot = None
    with ExitStack() as stack:
        # looking makes none
        has_state = settings.state_path.exists()
        state = stack.enter_context(State(settings.state_path)) if has_state else None
        if state is not None:
            told += others_told_otherwise(settings, state)
            found["settings"] = "; ".join(told) or "as the folder's"
            tickets = Tickets(state)
            found["open_tickets"] = tickets.open_count()
            found["tickets"] = [_standing(ticket) for ticket in tickets.open_of(settings.customer)]
            found["flags"] = ", ".join(sorted(state.flags())) or "none"
            heartbeat = state.heartbeat()
            snapshot = state.snapshot(settings.customer)
        trouble = find_trouble(settings, state)
        if is_there:
            found["worker"] = "running"
        elif what_waits(settings, state) is not None:
            found["worker"] = "needed, and none runs"
        else:
            found["worker"] = "ended by trouble" if trouble else "not needed now"
        found["worker_trouble"] = trouble or "none"
    if heartbeat is not None:
        found["worker_seen_s_ago"] = round(max(0.0, time.time() - heartbeat.beat_at), 1)
        found["worker_stored_events"] = heartbeat.events
    if snapshot is not None:
        found["context_version"] = snapshot.version
        found["context_age_s"] = round(max(0.0, time.time() - snapshot.updated_at), 1)
    if settings.warehouse_path.exists():
        found["warehouse_bytes"] = settings.warehouse_path.stat().st_size
    return found


def _standing(ticket: Ticket) -> dict[str, Any]:
    return {
        "ticket_id": ticket.ticket_id,
        "template": ticket.template,
        "state": ticket.state.value,
        "age_s": round(max(0.0, time.time() - ticket.submitted_at), 1),
    }
