"""How a person comes to the id of a ticket, which `cdesk cancel` asks for."""

from __future__ import annotations

import json
import re
import time
from dataclasses import replace
from pathlib import Path

import pytest

from cdesk.cli import main
from cdesk.config import Settings
from cdesk.seat import open_seat
from tests.e2e.talk import make_settings, until_worker_left

from .terminal import on_a_terminal
from .test_commands import printed_json, run


def shown(settings: Settings, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as exited:
        main(["--data-dir", str(settings.data_dir), "--customer", settings.customer, *arguments])
    assert exited.value.code == 0
    return capsys.readouterr().out


def test_status_lists_the_customers_tickets_that_have_not_ended(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    with open_seat(replace(settings, customer="other")) as seat:
        others = seat.queries.submit("health", {})
    asked_at = time.time() - 90
    with open_seat(settings, clock=lambda: asked_at) as seat:
        first = seat.queries.submit("health", {})
        seat.queries.cancel(seat.queries.submit("health", {}).ticket_id)
        second = seat.queries.submit("tool_usage", {"days": 30})
    found = json.loads(shown(settings, capsys, "status", "--json"))
    assert found["open_tickets"] == 3, "of all customers"
    assert [(one["ticket_id"], one["template"], one["state"]) for one in found["tickets"]] == [
        (first.ticket_id, "health", "queued"),
        (second.ticket_id, "tool_usage", "queued"),
    ]
    assert all(one["age_s"] >= 90 for one in found["tickets"])
    told = shown(settings, capsys, "status")
    assert f" {first.ticket_id} " in told and f" {second.ticket_id} " in told
    assert others.ticket_id not in told
    for ticket in (first, second):
        shown(settings, capsys, "cancel", ticket.ticket_id)
    assert json.loads(shown(settings, capsys, "status", "--json"))["tickets"] == []
    assert "open tickets;" not in shown(settings, capsys, "status")


@pytest.mark.slow
def test_a_query_names_its_ticket(tmp_path: Path) -> None:
    settings = make_settings(tmp_path)
    card = printed_json(run(tmp_path, "query", "health", "--json"))
    assert re.fullmatch(r"[0-9a-f-]{36}", card["ticket_id"])
    assert run(tmp_path, "cancel", card["ticket_id"]).stdout == f"{card['ticket_id']}: done\n"
    exit_code, arrived = on_a_terminal(tmp_path, "query", "health")
    assert exit_code == 0
    assert re.match(rb"ticket [0-9a-f-]{36}; `cdesk cancel` with it stops the query\r\n", arrived)
    until_worker_left(settings)
