"""Looking at a log, as a Python program sees it."""

import os
from pathlib import Path

import cdesk_core
import pytest
from cdesk_core import Consumer, Queue

from .conftest import drain, ids, line


def test_a_view_reads_what_was_written_since_and_follows_to_the_seal(
    queue: Queue, directory: Path
) -> None:
    queue.append_many([line(0), line(1)])
    (view,) = cdesk_core.inspect(directory)
    assert view.state == "open"
    assert view.name == f"seg-{view.created_unix_ms:013}-{view.writer}-000000.ndjson"
    assert view.bytes == (directory / view.name).stat().st_size
    assert [ids(view.read(max_lines=1)), ids(view.read())] == [[0], [1]]
    assert view.read() == b""
    queue.append(line(2))
    assert ids(view.read()) == [2]
    queue.roll()
    assert view.read() == b""
    assert (view.state, view.is_ended, view.lines) == ("sealed", True, 3)
    assert repr(view) == f"SegmentView('{view.name}')"


def test_damage_has_its_place_and_nothing_is_changed(directory: Path) -> None:
    with Queue(directory) as queue:
        queue.append_many([line(number) for number in range(4)])
    (segment,) = directory.glob("*.ndjson")
    content = bytearray(segment.read_bytes())
    content[content.index(b'"id":2')] ^= 1
    segment.write_bytes(content)
    before = sorted(os.listdir(directory))
    (view,) = cdesk_core.inspect(directory)
    view.check()
    start = content.index(b"\n", content.index(b"\n") + 1) + 1
    (damage,) = view.damage
    assert (damage.offset, damage.missing_lines) == (start, 1)
    assert (view.lines, view.missing_lines, view.torn_bytes) == (3, 1, 0)
    assert sorted(os.listdir(directory)) == before
    with Consumer(directory) as consumer:
        drain(consumer)
        assert consumer.stats().copied_bytes == damage.bytes
    assert repr(damage).startswith(f"Damage(offset={start}, ")


def test_no_log_has_no_segments_and_an_unsafe_one_is_refused(tmp_path: Path) -> None:
    assert cdesk_core.inspect(tmp_path / "nowhere") == []
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    with pytest.raises(cdesk_core.UnsafeDirectory):
        cdesk_core.inspect(tmp_path / "open")
