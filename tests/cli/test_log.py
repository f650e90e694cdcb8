"""`cdesk log` as a person and a script meet it."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import cdesk_core
import pytest
from cdesk_core import Consumer, Queue

from cdesk.cli.log_lines import without_own_fields
from cdesk.config import inherited_environment
from tests.e2e.talk import make_settings


def command(folder: Path, *arguments: object) -> dict[str, Any]:
    return {
        "args": [sys.executable, "-m", "cdesk", "log", *map(str, arguments)],
        "env": inherited_environment(make_settings(folder)),
        "stdin": subprocess.DEVNULL,
    }


def run(folder: Path, *arguments: object) -> subprocess.CompletedProcess[bytes]:
    """`cdesk log` on a data folder of its own."""
    return subprocess.run(**command(folder, *arguments), capture_output=True, check=False)


def on_a_terminal(folder: Path, *arguments: object) -> tuple[str, int]:
    """What a person sees of it, and its exit code."""
    ours, theirs = pty.openpty()
    started = command(folder, *arguments)
    started["env"] |= {"TERM": "xterm-256color"}
    running = subprocess.Popen(**started | {"stdin": theirs}, stdout=theirs, stderr=theirs)
    os.close(theirs)
    seen = b""
    try:
        while piece := os.read(ours, 65536):
            seen += piece
    except OSError:  # the terminal's other end was closed
        pass
    os.close(ours)
    return seen.decode(), running.wait()


def line(number: int) -> bytes:
    return b'{"id":%d}' % number


def write(directory: Path, *numbers: int, **options: Any) -> None:
    with Queue(directory, **options) as queue:
        queue.append_many([line(number) for number in numbers])


def ids(ndjson: bytes) -> list[int]:
    return [json.loads(text)["id"] for text in ndjson.splitlines()]


def damage(directory: Path, number: int) -> Path:
    """Flips a bit of a line."""
    for segment in directory.glob("*.ndjson"):
        content = bytearray(segment.read_bytes())
        at = content.find(b'"id":%d,' % number)
        if at >= 0:
            content[at + 5] ^= 8
            segment.write_bytes(content)
            return segment
    raise AssertionError(f"there is no line {number}")


def kept(directory: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in directory.rglob("*") if p.is_file()}


@pytest.fixture
def queue_dir(tmp_path: Path) -> Path:
    return tmp_path / "queue"


def test_a_good_log_is_verified_and_nothing_is_changed(tmp_path: Path, queue_dir: Path) -> None:
    write(queue_dir, *range(20), max_segment_bytes=300)
    before = kept(tmp_path)
    done = run(tmp_path, "verify")
    assert done.returncode == 0
    segments = len(list(queue_dir.glob("*.ndjson")))
    assert done.stdout.decode() == f"all is good: 20 good lines in {segments} segments\n"
    assert kept(tmp_path) == before


def test_damage_is_shown_with_its_place_and_exit_code_1(tmp_path: Path, queue_dir: Path) -> None:
    write(queue_dir, *range(5))
    segment = damage(queue_dir, 2)
    content = segment.read_bytes()
    second = content.index(b"\n") + 1
    third = content.index(b"\n", second) + 1
    done = run(tmp_path, "verify", "--json")
    assert done.returncode == 1
    report = json.loads(done.stdout)
    assert not report["is_good"]
    (found,) = report["segments"]
    assert (found["name"], found["lines"], found["missing_lines"]) == (segment.name, 4, 1)
    (place,) = found["damage"]
    assert place == {
        "offset": third,
        "bytes": content.index(b"\n", third) + 1 - third,
        "missing_lines": 1,
    }
    text = run(tmp_path, "verify").stdout.decode()
    assert "damaged: 1 line lost, 4 good lines in 1 segment" in text
    assert ids(run(tmp_path, "cat").stdout) == [0, 1, 3, 4]


def test_a_torn_tail_is_counted_and_is_no_damage(tmp_path: Path, queue_dir: Path) -> None:
    write(queue_dir, *range(3))
    (segment,) = queue_dir.glob("*.ndjson")
    lines = segment.read_bytes().splitlines(keepends=True)
    segment.write_bytes(b"".join(lines[:2]) + lines[2][:15])
    done = run(tmp_path, "verify", "--json")
    assert done.returncode == 0
    (found,) = json.loads(done.stdout)["segments"]
    assert (found["state"], found["lines"], found["torn_bytes"]) == ("abandoned", 2, 15)
    assert b"15 bytes at the ends of segments" in run(tmp_path, "verify").stdout


def test_stat_tells_open_sealed_and_abandoned_segments_and_who_waits(
    tmp_path: Path, queue_dir: Path
) -> None:
    write(queue_dir, 0)
    (left,) = queue_dir.glob("*.ndjson")
    left.write_bytes(left.read_bytes().splitlines(keepends=True)[0])
    write(queue_dir, 1)
    with Queue(queue_dir) as queue, Consumer(queue_dir) as consumer:
        queue.append(line(2))
        batch = consumer.next_batch(max_lines=1)
        assert batch is not None
        consumer.commit(batch)
        report = json.loads(run(tmp_path, "stat", "--json").stdout)
        shown = run(tmp_path, "stat").stdout.decode()
    assert {one["state"] for one in report["segments"]} == {"abandoned", "sealed", "open"}
    assert len({one["writer"] for one in report["segments"]}) == 3
    assert report["consumers"] == [{"name": "uploader", "backlog_lines": 2, "is_running": True}]
    assert (report["total"]["lines"], report["total"]["segments"]) == (3, 3)
    assert report["damaged"] == {"files": 0, "bytes": 0}
    for text in ("abandoned", "sealed", "open", "uploader", "3 segments of 3 writers, 3 lines"):
        assert text in shown


def test_copies_of_damage_are_counted(tmp_path: Path, queue_dir: Path) -> None:
    write(queue_dir, *range(3))
    damage(queue_dir, 1)
    with Consumer(queue_dir) as consumer:
        consumer.next_batch()
        bad_bytes = consumer.stats().copied_bytes
    report = json.loads(run(tmp_path, "stat", "--json").stdout)
    assert report["damaged"] == {"files": 1, "bytes": bad_bytes}


def test_a_path_may_be_given_and_wrong_ones_are_a_usage_error(
    tmp_path: Path, queue_dir: Path
) -> None:
    write(tmp_path / "elsewhere", 7)
    assert ids(run(tmp_path, "cat", tmp_path / "elsewhere").stdout) == [7]
    for arguments in (
        ("verify", tmp_path / "missing"),
        ("cat", "--segment", "none"),
        ("tail", "-n", "-1"),
        ("nonsense",),
    ):
        done = run(tmp_path, *arguments)
        assert (done.returncode, done.stdout) == (2, b"")


def test_a_data_folder_without_a_log_is_empty_and_good(tmp_path: Path) -> None:
    for name in ("stat", "verify", "tail", "cat"):
        assert run(tmp_path / "none", name).returncode == 0
    assert not (tmp_path / "none").exists()


def test_cat_gives_back_the_documents_that_were_appended_or_the_bytes_of_the_log(
    tmp_path: Path, queue_dir: Path
) -> None:
    appended = [
        b"{}",
        b"{ }",
        b'{"id":1}',
        b'{"id":2,"text":"\\"_seq\\":7, \xe2\x80\xa8","nested":{"_seq":3}}',
    ]
    with Queue(queue_dir) as queue:
        queue.append_many(appended)
    shown = run(tmp_path, "cat").stdout
    assert shown == b"".join(text.replace(b"\xe2\x80\xa8", rb"\u2028") + b"\n" for text in appended)
    assert [*map(json.loads, shown.splitlines())] == [*map(json.loads, appended)]
    (segment,) = queue_dir.glob("*.ndjson")
    stored = segment.read_bytes().split(b"\n")
    assert run(tmp_path, "cat", "--raw").stdout == b"\n".join(stored[:4]) + b"\n"


@pytest.mark.parametrize("name", ["cat", "tail"])
def test_what_goes_through_a_pipe_to_a_terminal_does_not_steer_it(
    tmp_path: Path, queue_dir: Path, name: str
) -> None:
    text = '{"\x9b2J":"\u202e\x7f\u2028",\t"é":1}'
    with Queue(queue_dir) as queue:
        queue.append(text.encode())
    shown = run(tmp_path, name).stdout.decode()
    assert shown == '{"\\u009b2J":"\\u202e\\u007f\\u2028",\t"é":1}\n'
    assert json.loads(shown) == json.loads(text)
    assert run(tmp_path, name, "--raw").stdout.decode().startswith(text[:-1])


def test_cat_can_be_held_to_some_segments(tmp_path: Path, queue_dir: Path) -> None:
    write(queue_dir, *range(3), max_segment_bytes=1)
    names = sorted(path.name for path in queue_dir.glob("*.ndjson"))
    short = names[2].removeprefix("seg-").removesuffix(".ndjson")
    assert ids(run(tmp_path, "cat", "--segment", names[0], "--segment", short).stdout) == [0, 2]


def foreign(queue_dir: Path, number: int) -> Path:
    """Puts a line of another version in the place of a segment."""
    segment = sorted(queue_dir.glob("*.ndjson"))[number]
    segment.write_text('{"id":1,"_seq":0,"_log":1,"_crc":"0b023a6c"}\n')
    return segment


def test_a_segment_that_cannot_be_read_costs_only_itself_and_is_named(
    tmp_path: Path, queue_dir: Path
) -> None:
    write(queue_dir, *range(6), max_segment_bytes=1)
    segment = foreign(queue_dir, 2)
    shown = run(tmp_path, "cat")
    assert (ids(shown.stdout), shown.returncode) == ([0, 1, 3, 4, 5], 1)
    assert f"{segment.name}: " in shown.stderr.decode()
    last = run(tmp_path, "tail", "-n", 4)
    assert (ids(last.stdout), last.returncode) == ([1, 3, 4, 5], 0)
    stat = json.loads(run(tmp_path, "stat", "--json").stdout)
    (told,) = [one for one in stat["segments"] if one["error"]]
    assert (told["name"], told["state"]) == (segment.name, "unreadable")
    checked = run(tmp_path, "verify")
    assert checked.returncode == 1
    assert b"unreadable: 1 segment, which waits" in checked.stdout
    assert b"damaged" not in checked.stdout


def test_a_consumer_that_does_not_come_back_is_unregistered(
    tmp_path: Path, queue_dir: Path
) -> None:
    write(queue_dir, 1)
    Consumer(queue_dir, "mistake").close()
    assert b"no longer waited for" in run(tmp_path, "unregister", "mistake", queue_dir).stdout
    assert cdesk_core.registered(queue_dir) == []
    again = run(tmp_path, "unregister", "mistake")
    assert again.returncode == 2
    assert b"cdesk log stat" in again.stderr


def test_the_workers_own_consumer_is_unregistered_only_by_who_gives_up_what_waits_for_it(
    tmp_path: Path, queue_dir: Path
) -> None:
    """It went through, and another consumer could delete what the warehouse did not have yet."""
    write(queue_dir, *range(1_234))
    Consumer(queue_dir, "uploader").close()
    refused = run(tmp_path, "unregister", "uploader")
    assert (refused.returncode, refused.stdout) == (2, b"")
    said = refused.stderr.decode()
    assert "(1,234 lines)" in said and "cdesk worker" in said and "--give-up" in said
    assert cdesk_core.registered(queue_dir) == ["uploader"]
    done = run(tmp_path, "unregister", "uploader", "--give-up")
    assert (done.returncode, done.stdout) == (0, b"uploader is no longer waited for\n")
    assert cdesk_core.registered(queue_dir) == []


def test_a_reader_that_has_enough_ends_cat_quietly(tmp_path: Path, queue_dir: Path) -> None:
    write(queue_dir, *range(20_000))
    with subprocess.Popen(
        **command(tmp_path, "cat"), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as done:
        assert done.stdout is not None and done.stderr is not None
        assert ids(done.stdout.readline()) == [0]
        done.stdout.close()
        assert (done.stderr.read(), done.wait()) == (b"", 0)


def test_tail_shows_the_last_lines_over_segments(tmp_path: Path, queue_dir: Path) -> None:
    write(queue_dir, *range(50), max_segment_bytes=300)
    assert ids(run(tmp_path, "tail").stdout) == list(range(40, 50))
    assert ids(run(tmp_path, "tail", "-n", 3).stdout) == [47, 48, 49]
    assert ids(run(tmp_path, "tail", "-n", 99).stdout) == list(range(50))
    assert run(tmp_path, "tail", "-n", 0).stdout == b""
    assert b'"_crc"' in run(tmp_path, "tail", "-n", 1, "--raw").stdout


def test_follow_shows_what_comes_in_old_and_new_segments_until_ctrl_c(
    tmp_path: Path, queue_dir: Path
) -> None:
    with Queue(queue_dir) as one, Queue(queue_dir) as two:
        one.append(line(0))
        two.append(line(1))
        with subprocess.Popen(
            **command(tmp_path, "tail", "-f", "-n", "2"), stdout=subprocess.PIPE
        ) as follower:
            assert follower.stdout is not None
            assert {*ids(follower.stdout.readline() + follower.stdout.readline())} == {0, 1}
            for queue, number in ((one, 2), (two, 3)):
                queue.append(line(number))
                assert ids(follower.stdout.readline()) == [number]
            one.roll()
            one.append(line(4))
            assert ids(follower.stdout.readline()) == [4]
            follower.send_signal(signal.SIGINT)
            assert (follower.stdout.read(), follower.wait()) == (b"", 0)


def test_follow_shows_nothing_again_and_no_more_old_lines_than_asked_for(
    tmp_path: Path, queue_dir: Path
) -> None:
    write(queue_dir, *range(6), max_segment_bytes=1)
    with subprocess.Popen(
        **command(tmp_path, "tail", "-f", "-n", 2), stdout=subprocess.PIPE
    ) as follower:
        assert follower.stdout is not None
        assert [json.loads(follower.stdout.readline())["id"] for _ in range(2)] == [4, 5]
        write(queue_dir, 6)
        assert json.loads(follower.stdout.readline())["id"] == 6, "and no older one"
        follower.send_signal(signal.SIGINT)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("arguments", [("-n", 1), ("-n", 0)])
def test_follow_ends_quietly_when_its_reader_has_gone_also_while_nothing_comes(
    tmp_path: Path, queue_dir: Path, arguments: tuple[object, ...]
) -> None:
    """`cdesk log tail -f | head -1` stayed until the next line was written."""
    write(queue_dir, 0)
    with subprocess.Popen(
        **command(tmp_path, "tail", "-f", *arguments),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as follower:
        assert follower.stdout is not None and follower.stderr is not None
        if arguments[1]:
            assert ids(follower.stdout.readline()) == [0]
        follower.stdout.close()
        assert (follower.stderr.read(), follower.wait()) == (b"", 0)


def test_follow_waits_for_a_log_that_does_not_exist_yet(tmp_path: Path, queue_dir: Path) -> None:
    with subprocess.Popen(**command(tmp_path, "tail", "-f"), stdout=subprocess.PIPE) as follower:
        assert follower.stdout is not None
        write(queue_dir, 0)
        assert ids(follower.stdout.readline()) == [0]
        follower.send_signal(signal.SIGTERM)


def test_a_terminal_gets_colour_and_a_pipe_does_not(tmp_path: Path, queue_dir: Path) -> None:
    write(queue_dir, 0, 1)
    seen, code = on_a_terminal(tmp_path, "verify")
    assert "\x1b[32m" in seen and code == 0
    seen, code = on_a_terminal(tmp_path, "tail", "-n", "1")
    assert "\x1b[" in seen and code == 0
    for name in ("stat", "verify", "tail", "cat"):
        done = run(tmp_path, name)
        assert b"\x1b" not in done.stdout + done.stderr


def test_a_terminal_is_not_steered_by_other_peoples_text(tmp_path: Path, queue_dir: Path) -> None:
    with Queue(queue_dir) as queue:
        queue.append('{"text":"\x9b2J [bold]"}'.encode())
    seen, _ = on_a_terminal(tmp_path, "cat")
    assert "\x9b" not in seen and "\\u009b2J [bold]" in seen


def test_a_folder_that_others_can_write_to_is_refused(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    done = run(tmp_path, "verify", tmp_path / "open")
    assert done.returncode == 74
    assert b"others can write to it" in done.stderr


def test_the_logs_own_fields_are_the_last_ones_of_a_line(queue_dir: Path) -> None:
    write(queue_dir, 12)
    (view,) = cdesk_core.inspect(queue_dir)
    assert without_own_fields(view.read()) == b'{"id":12}\n'
