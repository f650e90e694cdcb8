"""What holds for every row of the stream, whoever recorded it."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from typing import Any

import cdesk_core
import pytest

from cdesk.cli.demo_run import DemoRun
from cdesk.config import Settings, inherited_environment
from cdesk.warehouse.opening import open_warehouse

from .talk import make_settings


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A folder in which an export was imported, two servers and the command line were used, a
    question was refused and a line drifted."""
    settings = make_settings(tmp_path_factory.mktemp("data"))
    rehearsal = DemoRun(settings)
    rehearsal.import_sample()
    asyncio.run(rehearsal.converse())
    cdesk(settings, "event", "cdesk.file_read", "-p", "name=plan.csv")
    cdesk(settings, "insight", "orders", "count", "12", "--hash", "0123456789abcdef")
    cdesk(settings, "query", "tool_usage", "--byte-cap", "1")
    with cdesk_core.Queue(settings.queue_dir) as queue:
        queue.append(b'{"customer":"acme","what":"this is no event"}')
    rehearsal.wait_until_shipped()
    return settings


def cdesk(settings: Settings, *arguments: str) -> None:
    """Runs a command."""
    subprocess.run(
        [sys.executable, "-m", "cdesk", *arguments],
        env={**os.environ, **inherited_environment(settings)},
        check=True,
        stdout=subprocess.DEVNULL,
    )


def rows(settings: Settings, condition: str) -> list[tuple[Any, ...]]:
    """How many rows of each activity meet a condition."""
    statement = f'SELECT activity, count(*) FROM "{settings.schema}".events WHERE {condition}'
    with open_warehouse(settings).connection() as connection:
        return list(connection.execute(f"{statement} GROUP BY ALL").fetchall())


def test_every_event_of_the_stream_has_a_query_tag(settings: Settings) -> None:
    assert len(rows(settings, "true")) >= 15
    assert rows(settings, "_query_tag IS NULL") == []
    assert rows(settings, "NOT regexp_full_match(_query_tag, 'cdesk_[0-9a-f]{8}')") == []


def test_every_event_of_the_stream_says_what_spoke(settings: Settings) -> None:
    def spoken(condition: str) -> set[str]:
        return {activity.removeprefix("cdesk.") for activity, _ in rows(settings, condition)}

    imported = spoken("_session_id LIKE 'import-%'")
    assert len(imported) >= 8
    assert spoken("_source_system = 'claude_export'") == imported
    assert spoken("_source_system = 'cdesk_cli'") == {"file_read", "insight_recorded"}
    worked = spoken("_source_system = 'cdesk_worker'")
    assert {"sql_completed", "card_rendered", "schema_drifted", "context_refreshed"} <= worked
    assert not worked & {"tool_called", "user_asked", "session_started"}
    others = "'claude_export', 'cdesk_cli', 'cdesk_worker'"
    assert spoken(f"_source_system NOT IN ({others})") == spoken("_source_system = 'mcp'")
    assert {"tool_called", "user_asked", "session_started"} <= spoken("_source_system = 'mcp'")


def test_a_context_is_recorded_as_refreshed_for_what_was_learnt_and_never_for_itself(
    settings: Settings,
) -> None:
    counted = dict(rows(settings, "activity LIKE 'cdesk.%'"))
    learnt = counted["cdesk.insight_recorded"] + counted["cdesk.sql_completed"]
    assert learnt == 6
    # an insight is verified by an answer, and a refresh may come between an answer and its events
    assert 1 <= counted["cdesk.context_refreshed"] <= 2 * learnt


def test_every_event_of_the_stream_was_accepted_before_it_was_stored(settings: Settings) -> None:
    assert rows(settings, "(_accepted_at <= _ingested_at) IS NOT true") == []
