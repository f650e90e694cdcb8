"""Ten million query tags from processes that run at once, while some are killed."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from .programs import ROOT

TAGS, PROCESSES, KILLS = 10_000_000, 4, 100
SEED = random.SystemRandom().randrange(2**32)


@pytest.mark.proof
@pytest.mark.timeout(180)
def test_ten_million_tags_from_killed_processes_are_all_different(
    tmp_path: Path, figures: Callable[[str], None]
) -> None:
    command = [str(tmp_path / "tags"), *map(str, (TAGS, PROCESSES, KILLS, SEED))]
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.tagging", *command],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        check=True,
    )
    found = json.loads(done.stdout)
    figures(f"seed {SEED}: " + ", ".join(f"{count} {name}" for name, count in found.items()))
    assert found["tags"] >= TAGS
    assert found["distinct"] == found["tags"]
    assert found["kills"] == KILLS
