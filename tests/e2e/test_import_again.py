"""An export imported again into a warehouse that lacks it, and into one that has it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cdesk.config import Settings, inherited_environment
from cdesk.recorder import Recorder
from cdesk.resources import sample_export_path
from cdesk.warehouse.opening import open_warehouse
from tests.test_delivery import an_older_copy_in_place, another_file, another_schema, deleted

from .talk import make_settings, until_worker_left


def cdesk(settings: Settings, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "cdesk", *arguments],
        env=inherited_environment(settings),
        capture_output=True,
        text=True,
        check=True,
    )
    until_worker_left(settings)
    return done.stdout


def import_sample(settings: Settings) -> tuple[int, int]:
    """Imports the sample; how many of its events were new, and known."""
    found: dict[str, Any] = json.loads(
        cdesk(settings, "import", str(sample_export_path()), "--json")
    )
    return found["events_new_total"], found["events_known_total"]


def work(settings: Settings) -> None:
    """A worker ships an event more, and deletes what it may from the log."""
    with Recorder.open(settings) as recorder:
        recorder.record("cdesk.user_asked", {"chars": 1})
    cdesk(settings, "worker")


def imported_rows(settings: Settings) -> int:
    query = f"SELECT count(*) FROM \"{settings.schema}\".events WHERE _session_id LIKE 'import-%'"
    with open_warehouse(settings).connection() as connection:
        ((count,),) = connection.execute(query).fetchall()
    return int(count)


@pytest.mark.proof
@pytest.mark.timeout(120)
@pytest.mark.parametrize("lose", [deleted, another_file, an_older_copy_in_place, another_schema])
def test_what_a_warehouse_lacks_is_imported_again(
    tmp_path: Path, lose: Callable[[Settings, Path], Settings]
) -> None:
    settings = make_settings(tmp_path / "data", segment_grace_s=0.0)
    copy = tmp_path / "copy"
    if lose is an_older_copy_in_place:
        work(settings)
        shutil.copyfile(settings.warehouse_path, copy)
    assert import_sample(settings) == (400, 0)
    work(settings)
    assert imported_rows(settings) == 400
    segments = settings.queue_dir.glob("seg-*")
    assert not any(b'"import-' in path.read_bytes() for path in segments), "no copy is left"
    settings = lose(settings, copy)
    assert import_sample(settings) == (400, 0)
    assert imported_rows(settings) == 400
    assert import_sample(settings) == (0, 400)


@pytest.mark.proof
@pytest.mark.parametrize("lose", [deleted, an_older_copy_in_place])
def test_what_a_warehouse_lacks_and_the_log_has_is_not_imported_again_and_is_there(
    tmp_path: Path, lose: Callable[[Settings, Path], Settings]
) -> None:
    settings = make_settings(tmp_path / "data")
    work(settings)
    copy = tmp_path / "copy"
    shutil.copyfile(settings.warehouse_path, copy)
    assert import_sample(settings) == (400, 0)
    settings = lose(settings, copy)
    import_sample(settings)
    assert imported_rows(settings) == 400
    assert import_sample(settings) == (0, 400)
