"""A full disk: a filesystem of 64 KB."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import pytest
from cdesk_core import Queue

from .devices import tmpfs
from .lines import delivered, line

pytestmark = [pytest.mark.proof, pytest.mark.timeout(60)]


def fill(queue: Queue, numbers: range) -> tuple[list[int], OSError]:
    """Appends until the disk is full: what was acknowledged, and the error."""
    acknowledged = []
    for number in numbers:
        try:
            queue.append(line(number))
        except OSError as error:
            return acknowledged, error
        acknowledged.append(number)
    raise AssertionError("the disk was never full")


@pytest.mark.parametrize("max_segment_bytes", [50_000_000, 1000])
def test_a_full_disk_raises_with_its_name_and_the_log_resumes_when_space_returns(
    tmp_path: Path, max_segment_bytes: int, figures: Callable[[str], None]
) -> None:
    with tmpfs(tmp_path / "disk", "64k") as full:
        directory = full / "queue"
        (full / "filler").write_bytes(bytes(24_000))
        queue = Queue(directory, max_segment_bytes=max_segment_bytes)
        acknowledged, error = fill(queue, range(10_000))
        assert error.errno == errno.ENOSPC
        assert Path(error.filename).is_relative_to(directory)
        assert "free some space" in str(error)
        for number in range(10_000, 10_005):  # it stays full, and says so each time
            with pytest.raises(OSError, match="No space left") as refused:
                queue.append(line(number))
            assert refused.value.errno == errno.ENOSPC
        assert queue.stats().failed_lines == 6
        assert queue.stats().lines == len(acknowledged)
        (full / "filler").unlink()
        again, error = fill(queue, range(20_000, 30_000))
        assert error.errno == errno.ENOSPC and len(again) > 10
        # a full disk takes no position file: read it where there is room
        kept = tmp_path / "kept"
        kept.mkdir(mode=0o700)
        for segment in directory.glob("*.ndjson"):
            (kept / segment.name).write_bytes(segment.read_bytes())
        queue.close()  # what failed was left behind, and nothing else is open
    found = delivered(kept)
    assert {*acknowledged, *again} <= set(found)
    # a refused line may be found all the same, and no other
    assert len(found) - len(acknowledged) - len(again) <= queue.stats().failed_lines
    figures(f"{len(acknowledged)} acknowledged, then full; {len(again)} after space returned")
