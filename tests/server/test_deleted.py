"""What is deleted under a server that lives: nothing is acknowledged into a file without a name."""

from __future__ import annotations

import shutil
from pathlib import Path

import cdesk_core
import pytest

from .test_wire import Wire

pytestmark = pytest.mark.slow


def test_an_event_is_not_acknowledged_into_a_segment_that_somebody_deleted(tmp_path: Path) -> None:
    """It was said to be recorded, for as long as the segment would have lived."""
    wire = Wire(tmp_path)
    assert not wire.call("log_event", activity="cdesk.user_asked")["isError"]
    for segment in (tmp_path / "queue").glob("seg-*"):
        segment.unlink()
    said = [
        wire.call("log_event", activity="cdesk.user_asked", feature_json={"chars": chars})
        for chars in (1, 2)
    ]
    wire.end()
    ids = [answer["structuredContent"]["activity_id"] for answer in said]
    with cdesk_core.Consumer(tmp_path / "queue", "test") as consumer:
        batch = consumer.next_batch()
    assert batch is not None
    assert all(activity_id.encode() in batch.ndjson for activity_id in ids)


@pytest.mark.parametrize("deleted", ["queue", "."])
def test_an_event_that_no_log_takes_any_more_is_not_said_to_be_recorded(
    tmp_path: Path, deleted: str
) -> None:
    wire = Wire(tmp_path / "data")
    assert not wire.call("log_event", activity="cdesk.user_asked")["isError"]
    folder = tmp_path / "data" / deleted
    while folder.exists():  # a worker may be making something in it
        shutil.rmtree(folder, ignore_errors=True)
    said = wire.call("log_event", activity="cdesk.user_asked")
    wire.end()
    assert said["isError"]
    error = said["structuredContent"]["error"]
    assert "moved or deleted" in error and "restart Claude Desktop" in error
