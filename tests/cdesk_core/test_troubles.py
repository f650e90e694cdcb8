"""A segment that cannot be read, seen from Python, and a registration that is taken back."""

import os
import pwd
import subprocess
import sys
import tempfile
from pathlib import Path

import cdesk_core
import pytest
from cdesk_core import Consumer, Queue

from .conftest import drain, line

LOOK = """
import os, sys, cdesk_core
directory = sys.argv[1]
os.setgroups([])
os.setuid(int(sys.argv[2]))
backlog = cdesk_core.backlog(directory, 'uploader')
print(backlog.lines, backlog.segments, backlog.unreadable_segments)
for view in cdesk_core.inspect(directory):
    print(view.state, type(view.error).__name__)
with cdesk_core.Consumer(directory, 'uploader') as consumer:
    batch = consumer.next_batch()
    consumer.commit(batch)
    (trouble,) = consumer.troubles()
    print(batch.lines, trouble.segment, trouble.error.errno, trouble.error.filename)
    print(consumer.stats().troubled_segments, consumer.depth())
"""


def log_of(directory: Path) -> list[Path]:
    """A log of three segments with one line each."""
    with Queue(directory, max_segment_bytes=1) as queue:
        queue.append_many([line(0), line(1), line(2)])
    return sorted(directory.glob("*.ndjson"))


def test_a_segment_of_another_user_delays_only_itself() -> None:
    """As after one `sudo`: a file in a person's folder that the person may not read."""
    if os.geteuid() != 0:
        pytest.skip("only root can make a file that the owner of its folder may not read")
    nobody = pwd.getpwnam("nobody")
    with tempfile.TemporaryDirectory() as home:  # pytest's own is closed to others
        Path(home).chmod(0o755)
        directory = Path(home) / "queue"
        segments = log_of(directory)
        for path in (directory, segments[0], segments[2]):
            os.chown(path, nobody.pw_uid, nobody.pw_gid)
        command = [sys.executable, "-c", LOOK, str(directory), str(nobody.pw_uid)]
        looked = subprocess.run(command, capture_output=True, text=True, check=False)
        said = looked.stdout.splitlines()
        kinds = ["sealed NoneType", "unreadable PermissionError", "sealed NoneType"]
        assert said[:4] == ["2 3 1", *kinds], looked
        assert said[4:] == [f"2 {segments[1].name} 13 {segments[1]}", "1 0"]
        with Consumer(directory, "uploader") as consumer:  # root may read it
            assert drain(consumer) == [1]


def test_a_segment_of_another_version_is_a_trouble_with_the_next_move(tmp_path: Path) -> None:
    directory = tmp_path / "queue"
    segments = log_of(directory)
    segments[1].write_text('{"id":1,"_seq":0,"_log":1,"_crc":"0b023a6c"}\n')
    with Consumer(directory) as consumer:
        assert drain(consumer) == [0, 2]
        (trouble,) = consumer.troubles()
        assert isinstance(trouble.error, cdesk_core.UnsupportedFormat)
        assert "log format 1, this version reads 2" in str(trouble.error)
        assert segments[1].name in repr(trouble)
    view = cdesk_core.inspect(directory)[1]
    with pytest.raises(cdesk_core.UnsupportedFormat):
        view.check()
    assert view.state == "unreadable"
    assert str(view.error) == str(trouble.error)


def test_a_consumer_that_was_opened_by_mistake_is_unregistered(directory: Path) -> None:
    log_of(directory)
    Consumer(directory, "mistake").close()
    with Consumer(directory, "uploader") as consumer:
        batch = consumer.next_batch()
        assert batch is not None
        consumer.commit(batch)
        assert cdesk_core.registered(directory) == ["mistake", "uploader"]
        assert consumer.prune(batch.position, min_age_s=0) == 0
        mistake = Consumer(directory, "mistake")
        mistake.unregister()
        with pytest.raises(cdesk_core.QueueClosed):
            mistake.unregister()
        assert consumer.position == batch.position
        assert consumer.prune(consumer.position, min_age_s=0) == 3
    assert cdesk_core.registered(directory) == ["uploader"]
    assert cdesk_core.registered(directory / "none") == []
