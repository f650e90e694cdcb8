"""Cut power, for real: the filesystem is shut down under a writer, then mounted again.

What counts is what was heard before the cut. A machine without power says nothing, but one whose
filesystem is shut down goes on: on ext4, an fdatasync that is overtaken by the shutdown has been
seen to return 0 after it, for bytes that the next mount did not have (Linux 6.18, one in 300 cuts).
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from .devices import Disk, disk
from .lines import delivered
from .programs import program

pytestmark = [pytest.mark.proof, pytest.mark.timeout(180)]
CYCLES = 20
SEED = random.SystemRandom().randrange(2**32)


def live(on: Disk, first: int, before_the_cut: int, **options: object) -> set[int]:
    """One life of a writer, and of the disk; what was acknowledged while there was power."""
    with program("writer", on.at / "queue", **options) as writer:
        writer.tell(f"append {first} 5000")
        while len(writer.heard) < before_the_cut:
            assert writer.hear_one()
        acknowledged = writer.acknowledged
        on.cut_power()  # the writer is somewhere in an append
        writer.kill()
    on.power_off()
    on.power_on()
    return acknowledged


@pytest.mark.parametrize("kind", ["ext4", "xfs"])
def test_what_was_acknowledged_before_the_power_was_cut_is_delivered_once(
    tmp_path: Path, kind: str, figures: Callable[[str], None]
) -> None:
    chance = random.Random(SEED)
    acknowledged: set[int] = set()
    with disk(tmp_path, kind) as on:
        for cycle in range(CYCLES):
            acknowledged |= live(
                on,
                first=cycle * 10_000,
                before_the_cut=chance.randrange(1, 150),
                max_segment_bytes=chance.choice([100, 1000, 50_000_000]),
            )
            found = delivered(on.at / "queue", f"reader{cycle}")
            assert acknowledged <= set(found), f"seed {SEED}, cycle {cycle}"
            assert set(found.values()) == {1}, f"seed {SEED}, cycle {cycle}"
    figures(f"{CYCLES} cuts, {len(acknowledged)} acknowledged before, {len(found)} delivered")


@pytest.mark.parametrize("kind", ["ext4", "xfs"])
def test_the_proof_can_fail_because_without_syncs_lines_are_lost(
    tmp_path: Path, kind: str, figures: Callable[[str], None]
) -> None:
    with disk(tmp_path, kind) as on:
        acknowledged = live(on, first=0, before_the_cut=50, durability="os")
        found = Counter[int]()
        if (on.at / "queue").exists():
            found = delivered(on.at / "queue")
    lost = acknowledged - set(found)
    assert lost
    figures(f"{len(lost)} of {len(acknowledged)} lost with durability='os', as it says")
