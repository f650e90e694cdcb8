"""What the worker notes of its own work, without a process of its own."""

from __future__ import annotations

import cdesk_core
import pytest

from cdesk import presence, worker
from cdesk.config import Settings
from cdesk.recorder import Recorder
from tests.e2e.talk import payloads


def work(settings: Settings) -> None:
    """Works until everything is shipped: no client is there."""
    worker.Worker(settings).run(presence.take_work(settings.data_dir))
    assert cdesk_core.queue_depth(settings.queue_dir) == 0


@pytest.fixture
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    made = Settings(data_dir=tmp_path_factory.mktemp("data"), customer="acme", worker_grace_s=0.0)
    made.create_folders()
    return made


@pytest.mark.parametrize(("count", "is_long"), [(59, False), (60, True)])
def test_a_long_backlog_is_recorded_once_and_loses_nothing(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, count: int, is_long: bool
) -> None:
    monkeypatch.setattr(worker, "LONG_BACKLOG", 60)
    monkeypatch.setattr("cdesk.uploader._MAX_LINES", 7)
    monkeypatch.setattr(worker, "_BATCHES_IN_A_ROW", 1)
    with Recorder.open(settings) as recorder:
        for number in range(count):
            recorder.record("cdesk.user_asked", {"chars": number})
    work(settings)
    expected = [{"where": "log", "depth": 60, "dropped": 0}] if is_long else []
    assert payloads(settings, "cdesk.queue_overflow") == expected
    assert len(payloads(settings, "cdesk.user_asked")) == count
