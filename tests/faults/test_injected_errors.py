"""A device that fails: injected into the system calls of a real writer."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import pytest

from .lines import delivered
from .programs import injected, program

pytestmark = [pytest.mark.proof, pytest.mark.timeout(120)]
FIRST, LATER, COUNT = 3, 100, 12


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "queue"


@pytest.mark.parametrize("when", range(1, 7))
@pytest.mark.parametrize(
    ("call", "error"),
    [
        ("fdatasync", "EIO"),
        ("fdatasync", "ENOSPC"),
        ("pwrite64", "EIO"),
        ("pwrite64", "ENOSPC"),
        ("fsync", "EIO"),
        ("openat", "ENOSPC"),
        ("ftruncate", "EIO"),
    ],
)
@pytest.mark.parametrize("max_segment_bytes", [50_000_000, 300])
def test_one_failed_call_costs_no_line_and_poisons_at_most_one_segment(
    directory: Path, call: str, error: str, when: int, max_segment_bytes: int
) -> None:
    with program("writer", directory, max_segment_bytes=max_segment_bytes) as writer:
        writer.append(0, FIRST)
        with injected(writer, call, f"error={error}:when={when}"):
            stats = writer.append(FIRST, COUNT)
        assert stats is not None
        writer.kill()
        assert writer.acknowledged == set(range(FIRST + COUNT))
    found = delivered(directory)
    assert set(found) == writer.acknowledged
    assert stats.poisoned_segments <= 1 and stats.failed_lines == 0
    # What is written again may have been written the first time: the ids tell.
    assert sum(found.values()) - len(found) <= stats.poisoned_segments


def test_a_failed_sync_is_not_tried_again_on_the_same_segment(directory: Path) -> None:
    with program("writer", directory) as writer:
        writer.append(0, FIRST)
        with injected(writer, "fdatasync", "error=EIO:when=3"):
            stats = writer.append(FIRST, COUNT)
        assert stats is not None
        assert (stats.segments, stats.poisoned_segments) == (2, 1)
        assert len(list(directory.glob("*.ndjson"))) == 2
        assert len(writer.acknowledged) == FIRST + COUNT


@pytest.mark.parametrize(
    ("call", "name"),
    [("fdatasync", "EIO"), ("pwrite64", "EIO"), ("pwrite64", "ENOSPC"), ("openat", "EMFILE")],
)
def test_a_device_that_goes_on_failing_raises_with_its_name_and_the_log_resumes_when_it_heals(
    directory: Path, call: str, name: str, figures: Callable[[str], None]
) -> None:
    with program("writer", directory, max_segment_bytes=300) as writer:
        writer.append(0, FIRST)
        with injected(writer, call, f"error={name}:when=1+"):
            stats = writer.append(FIRST, COUNT)
            assert stats is not None
        failed = {int(said[0]): said[1:] for said in writer.all_said("no")}
        # ENOSPC in the zeros ahead is none of a caller's business, so a few lines may still fit
        assert failed and writer.acknowledged == set(range(FIRST + COUNT)) - set(failed)
        for number, filename in failed.values():
            assert int(number) == getattr(errno, name)
            assert Path(filename).is_relative_to(directory)
        assert stats.failed_lines == len(failed)
        assert writer.append(LATER, COUNT) is not None
        assert set(range(LATER, LATER + COUNT)) <= writer.acknowledged
        writer.kill()
    found = delivered(directory)
    assert writer.acknowledged <= set(found) <= writer.acknowledged | set(failed)
    assert len(list(directory.glob("*.ndjson"))) <= FIRST + 2 * COUNT
    figures(f"{len(failed)} refused, {len(writer.acknowledged)} acknowledged and delivered")
