"""A thousand writers, each killed somewhere: in a write, a sync, a rotation, between two lines."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from .programs import ROOT

KILLS = 1000
SEED = random.SystemRandom().randrange(2**32)


@pytest.mark.proof
@pytest.mark.timeout(300)
def test_a_thousand_killed_writers_lost_nothing_they_acknowledged(
    tmp_path: Path, figures: Callable[[str], None]
) -> None:
    command = ["tests.faults.killing", str(tmp_path / "queue"), str(KILLS), str(SEED)]
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, stdout=subprocess.PIPE, check=True
    )
    found = json.loads(done.stdout)
    figures(f"seed {SEED}: " + ", ".join(f"{count} {name}" for name, count in found.items()))
    assert found["kills"] == KILLS
    assert found["acknowledged"] > KILLS
    assert (found["lost"], found["twice"], found["damaged"]) == (0, 0, 0)
    assert found["delivered"] >= found["acknowledged"]
