"""The writing end, as a Python program sees it."""

import json
import os
import resource
import stat
import threading
from pathlib import Path

import cdesk_core
import pytest
from cdesk_core import Consumer, Queue

from .conftest import drain, line


def test_what_was_appended_is_delivered_in_order(queue: Queue, directory: Path) -> None:
    queue.append(line(0))
    queue.append_many([line(1), line(2)])
    with Consumer(directory) as consumer:
        assert drain(consumer) == [0, 1, 2]


def test_the_log_is_plain_ndjson_with_three_fields_more(queue: Queue, directory: Path) -> None:
    queue.append('{"text":"é"}'.encode())
    queue.roll()
    (segment,) = directory.glob("*.ndjson")
    first, seal = [json.loads(text) for text in segment.read_text().splitlines()]
    assert first["text"] == "é"
    assert (first["_seq"], first["_log"]) == (0, 2)
    assert seal["_sealed"] == {"lines": 1}


def test_a_queue_that_wrote_nothing_leaves_nothing(directory: Path) -> None:
    with Queue(directory):
        pass
    assert list(directory.iterdir()) == []


def test_files_are_for_their_owner_alone(queue: Queue, directory: Path) -> None:
    queue.append(b"{}")
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()} == {0o600}


@pytest.mark.parametrize(
    "bad",
    [
        b"",
        b"[]",
        b"null",
        b"{",
        b"{}\n",
        b'{"a":1}{"b":2}',
        b'{"_seq":1}',
        b'{"\\u005fcrc":1}',
        b'{"a":"\xff"}',
    ],
)
def test_a_bad_line_is_refused_and_nothing_of_the_call_is_written(
    queue: Queue, directory: Path, bad: bytes
) -> None:
    with pytest.raises(cdesk_core.InvalidLine, match="line 1 of the call") as caught:
        queue.append_many([line(0), bad, line(2)])
    assert isinstance(caught.value, ValueError)
    assert list(directory.iterdir()) == []


def test_a_line_that_is_too_long_is_refused(queue: Queue) -> None:
    longest = b'{"a":"' + b"x" * (cdesk_core.MAX_LINE_BYTES - 8) + b'"}'
    queue.append(longest)
    with pytest.raises(cdesk_core.LineTooLong, match="1048577 bytes"):
        queue.append(longest.replace(b"x", b"xx", 1))


def test_messages_never_carry_the_payload(queue: Queue) -> None:
    with pytest.raises(cdesk_core.InvalidLine) as caught:
        queue.append(b'{"password":"hunter2"')
    assert "hunter2" not in str(caught.value)
    assert "password" not in str(caught.value)


@pytest.mark.parametrize("wrong", ["{}", bytearray(b"{}"), None, 1])
def test_a_line_is_bytes(queue: Queue, wrong: object) -> None:
    with pytest.raises(TypeError):
        queue.append(wrong)  # type: ignore[arg-type]


def test_closing_twice_is_closing_once(directory: Path) -> None:
    queue = Queue(directory)
    queue.append(line(0))
    queue.close()
    queue.close()
    for call in (lambda: queue.append(line(1)), lambda: queue.append_many([]), queue.roll):
        with pytest.raises(cdesk_core.QueueClosed, match="open a new one"):
            call()


def test_leaving_the_block_says_that_the_segment_could_not_be_sealed(directory: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        with pytest.raises(OSError, match=r"cannot seal .*seg-"), Queue(directory) as queue:
            queue.append(line(0))
            resource.setrlimit(resource.RLIMIT_FSIZE, (1, hard))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    with Consumer(directory) as consumer:
        assert drain(consumer) == [0]


def test_segments_are_sealed_by_size_and_by_age(directory: Path) -> None:
    with Queue(directory, max_segment_bytes=200) as queue:
        queue.append_many([line(number) for number in range(20)])
        assert queue.stats().segments > 3
    with Queue(directory, max_segment_age_s=0) as queue:
        queue.append(line(20))
        queue.append(line(21))
        assert queue.stats().segments == 2
    with Consumer(directory) as consumer:
        assert sorted(drain(consumer)) == list(range(22))


@pytest.mark.parametrize(
    "options",
    [
        {"durability": "maybe"},
        {"max_segment_bytes": 0},
        {"max_segment_age_s": -1},
        {"max_segment_age_s": float("nan")},
    ],
)
def test_options_that_make_no_sense_are_refused(
    directory: Path, options: dict[str, object]
) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        Queue(directory, **options)  # type: ignore[arg-type]


def test_without_syncs_the_lines_are_there_all_the_same(directory: Path) -> None:
    with Queue(directory, durability="os") as queue:
        queue.append(line(0))
        with Consumer(directory) as consumer:
            assert drain(consumer) == [0]


def test_threads_share_one_queue_and_its_syncs(queue: Queue, directory: Path) -> None:
    threads = [
        threading.Thread(
            target=lambda first: [queue.append(line(first + n)) for n in range(50)], args=(t * 100,)
        )
        for t in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stats = queue.stats()
    assert (stats.lines, stats.pending_lines, stats.failed_lines) == (800, 0, 0)
    assert stats.commits < 800
    with Consumer(directory) as consumer:
        assert len(set(drain(consumer))) == 800


def test_what_the_system_refuses_is_an_oserror_with_its_number_and_file(
    directory: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError) as caught:
        Queue(tmp_path / "file" / "queue")
    assert caught.value.errno == 20
    assert caught.value.filename == str(tmp_path / "file" / "queue")
    queue = Queue(directory)
    directory.rmdir()
    with pytest.raises(FileNotFoundError) as caught2:
        queue.append(line(0))
    assert str(directory) in caught2.value.filename


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_a_device_is_no_directory() -> None:
    with pytest.raises(cdesk_core.UnsafeDirectory, match="not a directory"):
        Queue("/dev/full")


@pytest.mark.parametrize("max_segment_bytes", [0, -1])
def test_an_option_that_cannot_be_is_refused_by_its_name(
    tmp_path: Path, max_segment_bytes: int
) -> None:
    with pytest.raises(cdesk_core.InvalidOption, match="max_segment_bytes must be at least 1"):
        Queue(tmp_path / "queue", max_segment_bytes=max_segment_bytes)
    assert not (tmp_path / "queue").exists()


def test_counts_below_zero_are_refused_by_their_names(tmp_path: Path) -> None:
    with Consumer(tmp_path / "queue") as consumer:
        with pytest.raises(cdesk_core.InvalidOption, match="max_lines must be 0 or more"):
            consumer.next_batch(max_lines=-1)
        with pytest.raises(cdesk_core.InvalidOption, match="min_age_s must be a number"):
            consumer.prune("1", min_age_s=-1)
    with pytest.raises(cdesk_core.InvalidOption, match="max_bytes must be 0 or more"):
        cdesk_core.ContextCache(max_entries=1, max_bytes=-1, ttl_s=1, stale_after_s=1)
    Queue(tmp_path / "queue", max_segment_age_s=1e300).close()


def test_unsafe_directories_are_refused(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    with pytest.raises(cdesk_core.UnsafeDirectory, match="others can write"):
        Queue(shared)
    link = tmp_path / "link"
    link.symlink_to(tmp_path)
    with pytest.raises(cdesk_core.UnsafeDirectory, match="symbolic link"):
        Consumer(link)
    with pytest.raises(cdesk_core.UnsafeDirectory):
        cdesk_core.QueryTags(link)
