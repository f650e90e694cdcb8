"""Query tags."""

import os
import re
import threading
import uuid
from pathlib import Path

import cdesk_core
import pytest
from cdesk_core import QueryTags


def test_a_tag_is_the_beginning_of_a_version_4_uuid(directory: Path) -> None:
    tag, text = QueryTags(directory).next_with_uuid()
    assert re.fullmatch(r"cdesk_[0-9a-f]{8}", tag)
    assert tag == f"cdesk_{text[:8]}"
    parsed = uuid.UUID(text)
    assert (parsed.version, parsed.variant, str(parsed)) == (4, uuid.RFC_4122, text)


def test_no_tag_comes_twice_over_threads_and_lives(directory: Path) -> None:
    tags: list[str] = []

    def take(source: QueryTags) -> None:
        tags.extend([source.next() for _ in range(700)])

    for _ in range(3):
        source = QueryTags(directory)
        threads = [threading.Thread(target=take, args=(source,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(set(tags)) == len(tags) == 8400


def test_a_damaged_counter_is_an_error_and_not_a_new_beginning(directory: Path) -> None:
    QueryTags(directory).next()
    (directory / "tags.state").write_text("damaged")
    with pytest.raises(cdesk_core.TagsUnreadable, match=r"tags\.state"):
        QueryTags(directory).next()


def test_waiting_for_another_process_lets_other_threads_run(directory: Path) -> None:
    directory.mkdir()
    tags: list[str] = []
    with cdesk_core.Lease(directory / "tags.state.lock"):
        thread = threading.Thread(target=lambda: tags.append(QueryTags(directory).next()))
        thread.start()
        assert not tags
    thread.join()
    assert len(tags) == 1


@pytest.mark.timeout(20)
def test_a_counter_that_is_a_pipe_is_an_error_and_not_a_wait_without_an_end(
    directory: Path,
) -> None:
    directory.mkdir()
    os.mkfifo(directory / "tags.state")
    with pytest.raises(OSError, match="Illegal seek") as raised:
        QueryTags(directory).next()
    assert raised.value.filename == str(directory / "tags.state")
