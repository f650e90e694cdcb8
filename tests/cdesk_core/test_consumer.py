"""The reading end, as a Python program sees it."""

from pathlib import Path

import cdesk_core
import pytest
from cdesk_core import Consumer, Queue

from .conftest import drain, ids, line


def test_a_batch_has_lines_their_count_and_the_position_reached(
    queue: Queue, directory: Path
) -> None:
    queue.append_many([line(number) for number in range(5)])
    with Consumer(directory) as consumer:
        batch = consumer.next_batch(max_lines=3)
        assert batch is not None
        assert (ids(batch.ndjson), batch.lines) == ([0, 1, 2], 3)
        assert batch.position.startswith("1;") and batch.position.endswith("=3")
        assert batch.ndjson.endswith(b"\n")
        batch = consumer.next_batch(max_bytes=1)
        assert batch is not None and batch.lines == 1
        assert "id" not in repr(batch)


def test_a_committed_batch_does_not_come_again(queue: Queue, directory: Path) -> None:
    queue.append_many([line(number) for number in range(5)])
    with Consumer(directory) as consumer:
        batch = consumer.next_batch(max_lines=3)
        assert batch is not None
        consumer.commit(batch)
        assert consumer.depth() == cdesk_core.queue_depth(directory) == 2
    with Consumer(directory) as consumer:
        assert drain(consumer) == [3, 4]


def test_seek_goes_where_the_sink_stands(queue: Queue, directory: Path) -> None:
    queue.append_many([line(number) for number in range(5)])
    with Consumer(directory) as consumer:
        batch = consumer.next_batch(max_lines=2)
        assert batch is not None
        drain(consumer)
        consumer.seek(batch.position)
        assert drain(consumer) == [2, 3, 4]
        consumer.seek("1")
        assert len(drain(consumer)) == 5


@pytest.mark.parametrize(
    "text", ["", "0", "2;", "1;x=1", "1;1763694538123-9f3a01c2-000001=-1", "é"]
)
def test_what_is_not_a_position_is_refused(directory: Path, text: str) -> None:
    with Consumer(directory) as consumer:
        for call in (lambda: consumer.seek(text), lambda: consumer.prune(text, min_age_s=0)):
            with pytest.raises(cdesk_core.InvalidPosition):
                call()


def test_a_name_has_one_consumer_at_a_time(directory: Path) -> None:
    with Consumer(directory):
        with pytest.raises(cdesk_core.LeaseHeld, match=r"uploader\.lock"):
            Consumer(directory)
        with Consumer(directory, "snowflake"):
            pass
    with Consumer(directory):
        pass


def test_consumers_of_two_sinks_each_get_everything(queue: Queue, directory: Path) -> None:
    queue.append(line(0))
    with Consumer(directory, "duckdb") as one, Consumer(directory, "snowflake") as two:
        assert drain(one) == drain(two) == [0]


def test_segments_go_when_every_consumer_is_past_them(directory: Path) -> None:
    with Queue(directory, max_segment_bytes=100) as queue:
        queue.append_many([line(number) for number in range(10)])
    with Consumer(directory, "one") as one, Consumer(directory, "two") as two:
        first, second = one.next_batch(), two.next_batch()
        assert first is not None and second is not None
        one.commit(first)
        assert one.prune(first.position, min_age_s=0) == 0
        two.commit(second)
        assert one.prune(first.position, min_age_s=3600) == 0
        segments = one.stats().segments
        assert one.prune(first.position, min_age_s=0) == segments > 1
        assert list(directory.glob("*.ndjson")) == []


def test_damage_is_counted_kept_aside_and_hides_nothing(directory: Path) -> None:
    with Queue(directory) as queue:
        queue.append_many([line(number) for number in range(5)])
    (segment,) = directory.glob("*.ndjson")
    content = bytearray(segment.read_bytes())
    content[content.index(b'"id":2')] ^= 1
    segment.write_bytes(content)
    with Consumer(directory) as consumer:
        assert drain(consumer) == [0, 1, 3, 4]
        assert consumer.stats().damaged_lines == 1
        assert consumer.stats().copied_bytes > 0
    (kept,) = (directory / "damaged").iterdir()
    assert b"id" in kept.read_bytes() or b":2" in kept.read_bytes()


def test_the_backlog_is_seen_without_a_lease_and_changes_nothing(
    queue: Queue, directory: Path, tmp_path: Path
) -> None:
    assert cdesk_core.backlog(tmp_path / "nowhere").lines == 0
    assert not (tmp_path / "nowhere").exists()
    queue.append_many([line(0), line(1)])
    with Consumer(directory):
        seen = cdesk_core.backlog(directory)
        assert (seen.lines, seen.segments, seen.has_consumer) == (2, 1, True)
        assert seen.bytes >= 64 * 1024
    assert not cdesk_core.backlog(directory).has_consumer
    with pytest.raises(cdesk_core.InvalidName):
        cdesk_core.queue_depth(directory, "../x")


def test_a_closed_consumer_says_so(directory: Path) -> None:
    consumer = Consumer(directory)
    consumer.close()
    consumer.close()
    for call in (consumer.next_batch, consumer.depth, consumer.stats):
        with pytest.raises(cdesk_core.QueueClosed):
            call()


def test_other_consumers_delete_only_what_is_safe(directory: Path) -> None:
    with Queue(directory) as queue:
        queue.append(line(0))
    with Consumer(directory, "ahead") as ahead, Consumer(directory) as other:
        batch, theirs = ahead.next_batch(), other.next_batch()
        assert batch is not None and theirs is not None
        with pytest.raises(cdesk_core.InvalidPosition):
            ahead.commit(batch, safe="nowhere")
        ahead.commit(batch, safe="1")
        other.commit(theirs)
        assert (ahead.depth(), other.prune(theirs.position, min_age_s=0)) == (0, 0)
        ahead.commit(batch)
        assert other.prune(theirs.position, min_age_s=0) == 1
