"""The sample export is whole, small and shows everything an import can bring."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from cdesk.activity import Event
from cdesk.importers import Summary, import_export
from cdesk.resources import sample_export_path


@pytest.fixture(scope="module")
def imported() -> tuple[Summary, list[Event]]:
    lines: list[bytes] = []

    def append_many(batch: Sequence[bytes]) -> None:
        lines.extend(batch)

    summary = import_export(
        sample_export_path(), append_many=append_many, customer="sample", source_version="1.0.0"
    )
    return summary, [Event.from_line(line) for line in lines]


def test_all_of_it_is_imported(imported: tuple[Summary, list[Event]]) -> None:
    summary, events = imported

    assert (summary.conversations, summary.messages) == (44, 232)
    assert (summary.skipped_total, summary.is_complete) == (0, True)
    assert sum(summary.events.values()) == len(events) == 400


def test_it_has_every_activity_of_an_import(imported: tuple[Summary, list[Event]]) -> None:
    assert set(imported[0].events) == {
        "cdesk.claude_responded",
        "cdesk.file_read",
        "cdesk.session_ended",
        "cdesk.session_started",
        "cdesk.tool_called",
        "cdesk.tool_completed",
        "cdesk.tool_failed",
        "cdesk.user_asked",
    }


def test_its_tools_fail_in_different_ways(imported: tuple[Summary, list[Event]]) -> None:
    errors = {(event.feature_json or {}).get("error") for event in imported[1]} - {None}

    assert {"timeout", "rate_limited", "not_permitted", "network", "invalid_input"} <= errors


def test_it_is_eight_working_weeks_of_autumn_2026(imported: tuple[Summary, list[Event]]) -> None:
    summary, events = imported

    assert summary.first_ts is not None
    assert summary.last_ts is not None
    assert datetime(2026, 9, 21, tzinfo=UTC) < summary.first_ts
    assert summary.last_ts < datetime(2026, 11, 14, tzinfo=UTC)
    assert len({event.ts.isocalendar().week for event in events}) == 8
    assert all(event.ts.isoweekday() <= 5 for event in events)


def test_it_is_small_and_an_archive_as_claude_sends_it() -> None:
    path = sample_export_path()

    assert path.stat().st_size < 200_000
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert set(archive.namelist()) == {"conversations.json", "projects.json", "users.json"}


def test_it_has_long_and_empty_conversations_thoughts_and_many_scripts() -> None:
    with zipfile.ZipFile(sample_export_path()) as archive:
        raw = archive.read("conversations.json").decode()
    lengths = [len(conversation["chat_messages"]) for conversation in json.loads(raw)]

    assert (min(lengths), max(lengths)) == (0, 24)
    assert '"type": "thinking"' in raw
    assert all(sign in raw for sign in ("المصباح", "שבת", "花瓶", "🎉", "Größe"))
