"""The state store: what it keeps, between whom, and what it refuses."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
import threading
from pathlib import Path
from typing import Any

import pytest

import cdesk.state
from cdesk import lockfile
from cdesk.cli import main
from cdesk.cli.status import read_status
from cdesk.config import Settings
from cdesk.errors import LockHeld, StateBusy, StateError
from cdesk.state import Flag, Heartbeat, Snapshot, State, meaning
from tests.child import child

NOW = len(cdesk.state._STEPS)
"""The version of a store that this cdesk opens."""

SETS_A_FLAG = """
    import sys
    from pathlib import Path
    from cdesk.state import State

    with State(Path(sys.argv[1])) as state:
        print(",".join(sorted(state.flags())), flush=True)
        state.set_flag(sys.argv[2], "by another process", 1.0)
"""


def flags_seen_by_a_child_that_sets(path: Path, name: str) -> set[str]:
    with child(SETS_A_FLAG, path, name) as other:
        seen = other.hears()
        assert other.ends() == 0
    return set(filter(None, seen.split(",")))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


def test_a_second_store_of_the_process_that_comes_and_goes_leaves_the_locks_of_the_first(
    path: Path,
) -> None:
    with State(path) as first:
        first.set_flag("first", "kept in the write-ahead log", 1.0)
        log = path.with_name("state.db-wal")
        inode = log.stat().st_ino
        State(path).close()
        # the last one to leave deletes the log: this process must not look as if it had left
        assert flags_seen_by_a_child_that_sets(path, "second") == {"first"}
        assert log.stat().st_ino == inode
        assert first.flags().keys() == {"first", "second"}
        first.set_flag("third", "after the other left", 2.0)
        State(path).close()
        assert flags_seen_by_a_child_that_sets(path, "fourth") == {"first", "second", "third"}
        assert first.flags().keys() == {"first", "second", "third", "fourth"}
    with State(path) as again:
        assert again.flags().keys() == {"first", "second", "third", "fourth"}


def test_the_first_of_many_threads_creates_the_store_and_all_can_use_it(path: Path) -> None:
    together = threading.Barrier(8)
    failures: list[BaseException] = []

    def use(number: int) -> None:
        try:
            together.wait()
            with State(path) as state:
                state.set_flag(f"flag {number}", "why", 1.0)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=use, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    with State(path) as state:
        assert state.flags().keys() == {f"flag {number}" for number in range(8)}


def test_the_files_are_the_owners_alone_whatever_the_umask(path: Path) -> None:
    before = os.umask(0)
    try:
        with State(path) as state:
            state.set_flag("flag", "why", 1.0)
            files = list(path.parent.iterdir())
            assert {file.name for file in files} == {
                "state.db", "state.db-wal", "state.db-shm", "state.lock",
            }  # fmt: skip
            assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    finally:
        os.umask(before)


def test_a_store_of_a_newer_version_is_refused_and_left_as_it_is(path: Path) -> None:
    State(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA user_version={NOW + 1}")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(
        StateError, match=rf"is of version {NOW + 1}, this cdesk knows {NOW}; upgrade"
    ):
        State(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", [b"no database at all", b"SQLite format 3\0" + b"\xff" * 4096])
def test_a_damaged_store_is_refused_with_its_path_and_the_next_move(
    path: Path, content: bytes
) -> None:
    path.write_bytes(content)
    with pytest.raises(StateError, match=r"is damaged; .* move it away") as refused:
        State(path)
    assert str(path) in str(refused.value)
    assert isinstance(refused.value.__cause__, sqlite3.Error)
    assert path.read_bytes() == content


def test_damage_that_shows_later_is_a_state_error_too(path: Path) -> None:
    with State(path) as state:
        for number in range(100):
            state.set_flag(f"flag {number}", "why" * 100, 1.0)
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (path.stat().st_size - 4096))
    with State(path) as state, pytest.raises(StateError, match=r"is damaged; .* move it away"):
        state.flags()


def test_a_store_that_cannot_be_opened_is_refused_with_its_path(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "no" / "folder" / "state.db"):
        with pytest.raises(StateError, match=f"^{path}: .*cannot be opened"):
            State(path)


def test_a_block_that_raises_changes_nothing(state: State) -> None:
    state.set_flag("before", "why", 1.0)
    with pytest.raises(ZeroDivisionError), state.transaction() as connection:
        connection.execute("DELETE FROM flags")
        raise ZeroDivisionError
    assert state.flags().keys() == {"before"}
    state.set_flag("after", "why", 1.0)
    assert state.flags().keys() == {"before", "after"}


def test_a_full_disk_is_named_as_it_is_and_the_store_works_again_with_space(state: State) -> None:
    state.set_flag("before", "why", 1.0)
    with state.reading() as connection:
        connection.execute("PRAGMA max_page_count=1")  # not below what there is
    with pytest.raises(StateError, match="the disk is full"):
        for number in range(1_000):
            state.set_flag(f"flag {number}", "w" * 5_000, 1.0)
    kept = state.flags().keys()
    assert "before" in kept
    with state.reading() as connection:
        connection.execute("PRAGMA max_page_count=100000")
    state.set_flag("after", "w" * 5_000, 1.0)
    assert state.flags().keys() == kept | {"after"}


def test_a_disk_that_lets_nothing_beside_the_store_grow_is_called_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite says no more than that it can neither read nor write."""
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = sqlite3.SQLITE_IOERR_SHMSIZE
    assert "check the disk" in str(meaning(error, tmp_path / "state.db"))
    monkeypatch.setattr("cdesk.state.has_room", lambda folder: folder != tmp_path)
    assert "the disk is full; free some space" in str(meaning(error, tmp_path / "state.db"))


def test_a_store_that_could_not_be_followed_is_opened_by_the_next_call(
    state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It took its closed connection for one to the file that it had not been able to open."""
    state.path.rename(state.path.with_name("away.db"))
    State(state.path).close()
    monkeypatch.setattr("cdesk.state._BUSY_TIMEOUT_S", 0.01)
    with contextlib.closing(sqlite3.connect(state.path, isolation_level=None)) as holder:
        holder.execute("PRAGMA locking_mode=EXCLUSIVE")
        holder.execute("BEGIN EXCLUSIVE")
        for _ in range(2):
            with pytest.raises(StateBusy):
                state.flags()
    assert state.flags() == {}


def test_another_threads_store_is_refused_as_a_state_error(state: State) -> None:
    caught: list[StateError] = []

    def read() -> None:
        try:
            state.flags()
        except StateError as error:
            caught.append(error)

    thread = threading.Thread(target=read)
    thread.start()
    thread.join()
    assert len(caught) == 1


def test_a_closed_store_is_refused_as_a_state_error(path: Path) -> None:
    state = State(path)
    state.close()
    state.close()
    with pytest.raises(StateError):
        state.flags()


def test_the_change_token_differs_after_a_change_by_anybody_and_only_then(state: State) -> None:
    before = state.change_token()
    state.set_flag("own", "why", 1.0)
    token = state.change_token()
    assert token != before
    with State(state.path) as other:
        other.flags()
        assert state.change_token() == token
        other.set_flag("others", "why", 1.0)
    assert state.change_token() != token


def test_a_flag_is_set_for_everybody_until_it_is_cleared(state: State) -> None:
    assert state.flags() == {}
    state.set_flag("kill_switch", "credits", 1.0)
    state.set_flag("kill_switch", "by hand", 2.0)
    with State(state.path) as other:
        assert other.flags() == {"kill_switch": Flag("kill_switch", "by hand", 2.0)}
        assert other.clear_flag("kill_switch")
        assert not other.clear_flag("kill_switch")
    assert state.flags() == {}


def test_a_snapshot_is_the_one_put_last_for_its_customer(state: State) -> None:
    assert state.snapshot("acme") is None
    for version, blob in ((1, b"{}"), (2, b'{"version":2}')):
        state.put_snapshot(Snapshot("acme", version, 10.0, blob), request=None)
    assert state.snapshot("acme") == Snapshot("acme", 2, 10.0, b'{"version":2}')
    assert state.snapshot("globex") is None


def test_snapshot_requests_come_oldest_first_and_once_for_each_customer(state: State) -> None:
    for customer in ("acme", "globex", "initech", "globex"):
        state.request_snapshots([customer])
    assert state.requested_snapshots() == ["acme", "initech", "globex"]


def test_a_snapshot_settles_the_request_it_was_begun_after_and_no_later_one(state: State) -> None:
    state.request_snapshots(["acme", "globex"])
    begun_after = state.snapshot_request("acme")
    state.request_snapshots(["acme"])
    state.put_snapshot(Snapshot("acme", 1, 9.0, b"{}"), request=begun_after)
    assert state.requested_snapshots() == ["globex", "acme"]
    state.put_snapshot(Snapshot("acme", 1, 10.0, b"{}"), request=state.snapshot_request("acme"))
    assert state.requested_snapshots() == ["globex"]


def test_a_number_of_a_request_never_comes_again(state: State) -> None:
    state.request_snapshots(["acme"])
    first = state.snapshot_request("acme")
    state.put_snapshot(Snapshot("acme", 1, 9.0, b"{}"), request=first)
    state.request_snapshots(["acme"])
    assert state.snapshot_request("acme") != first


def test_a_store_that_was_moved_away_is_left_for_the_one_the_others_use(state: State) -> None:
    assert not state.follow()
    state.path.rename(state.path.with_name("away.db"))
    with State(state.path) as other:
        other.set_flag("kill_switch", "credits", 1.0)
        assert list(state.flags()) == ["kill_switch"], "two worlds otherwise"
        assert not state.follow()
    token = state.change_token()
    for path in state.path.parent.glob(f"{state.path.name}*"):
        path.unlink()
    assert state.follow()
    assert state.flags() == {} and state.path.exists()
    assert state.change_token() != token


def test_a_store_that_is_put_back_after_another_could_not_be_opened_is_used_again(
    state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    state.set_flag("kill_switch", "credits", 1.0)
    away = state.path.rename(state.path.with_name("away.db"))

    def held(*_: Any, **__: Any) -> None:
        raise LockHeld("another program holds it")

    with monkeypatch.context() as patch:
        patch.setattr(lockfile, "take", held)
        with pytest.raises(StateBusy):
            state.flags()
    away.rename(state.path)
    assert list(state.flags()) == ["kill_switch"]


KEEPS_A_STORE = """
    import sys
    from pathlib import Path
    from cdesk.state import State

    with State(Path(sys.argv[1])) as state:
        print("open", flush=True)
        while True:
            state.set_flag(input(), "by another process", 1.0)
            print(",".join(sorted(state.flags())), flush=True)
"""


@pytest.mark.parametrize(
    "how",
    ["all deleted", "the file moved away", "a young file moved away", "an older copy put back"],
)
def test_who_comes_after_the_store_was_lost_under_others_shares_one_with_them(
    path: Path, tmp_path: Path, how: str
) -> None:
    """Also when what belongs to the lost file stays beside the new one, as `mv state.db` leaves."""
    older = tmp_path / "older.db"
    if how != "a young file moved away":  # all that is in a young one is still in its log
        State(path).close()
        older.write_bytes(path.read_bytes())
    with child(KEEPS_A_STORE, path) as worker:
        assert worker.hears() == "open"
        worker.tell("before")
        assert worker.hears() == "before"
        path.rename(tmp_path / "away.db")
        if not how.endswith("moved away"):
            for ending in ("-wal", "-shm"):
                path.with_name(f"state.db{ending}").unlink()
        if how == "an older copy put back":
            older.rename(path)
        with child(KEEPS_A_STORE, path) as operator:
            assert operator.hears() == "open"
            operator.tell("kill_switch")
            assert operator.hears() == "kill_switch"
            worker.tell("third")
            assert worker.hears() == "kill_switch,third"
            operator.tell("fourth")
            assert operator.hears() == "fourth,kill_switch,third"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


@pytest.mark.parametrize(
    ("code", "words", "kind"),
    [
        (sqlite3.SQLITE_BUSY, "close it there", StateBusy),
        (sqlite3.SQLITE_LOCKED, "close it there", StateBusy),
        (sqlite3.SQLITE_FULL, "the disk is full", StateError),
        (sqlite3.SQLITE_READONLY, "may not be written", StateError),
        (sqlite3.SQLITE_CANTOPEN, "cannot be opened", StateError),
        (sqlite3.SQLITE_IOERR, "check the disk", StateError),
        (sqlite3.SQLITE_IOERR_WRITE, "check the disk", StateError),
        (sqlite3.SQLITE_CORRUPT, "move it away", StateError),
        (sqlite3.SQLITE_NOTADB, "move it away", StateError),
        (sqlite3.SQLITE_TOOBIG, "SQLite error 18", StateError),
    ],
)
def test_only_a_damaged_store_is_to_be_moved_away(
    code: int, words: str, kind: type[StateError]
) -> None:
    error = sqlite3.OperationalError("no word of this")
    error.sqlite_errorcode = code
    told = meaning(error, Path("state.db"))
    assert type(told) is kind and words in str(told)
    assert ("move it away" in str(told)) == (words == "move it away")
    assert "no word of this" not in str(told)


def test_a_store_that_another_program_holds_is_busy_and_not_damaged(
    state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cdesk.state._BUSY_TIMEOUT_S", 0.0)
    with contextlib.closing(sqlite3.connect(state.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with State(state.path) as waiting, pytest.raises(StateBusy):
            waiting.clear_flag("kill_switch")


def test_the_heartbeat_is_what_the_worker_said_last(state: State) -> None:
    assert state.heartbeat() is None
    state.beat(Heartbeat(pid=7, started_at=1.0, beat_at=2.0, events=3, trouble="upload: full"))
    last = Heartbeat(pid=8, started_at=2.0, beat_at=3.0, events=4, trouble=None)
    state.beat(last)
    assert state.heartbeat() == last


def test_a_database_of_another_program_is_refused_and_left_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    with sqlite3.connect(path) as other:
        other.execute("PRAGMA user_version=1")
        other.execute("CREATE TABLE theirs (x)")
    other.close()
    before = path.read_bytes()
    with pytest.raises(StateError, match="another program; move it away"):
        State(path)
    assert path.read_bytes()[100:] == before[100:]


STEP_DIES = """
    import os, sys
    from pathlib import Path
    import cdesk.state

    class Dying(str):
        def split(self, separator):
            yield from str.split(self, separator)
            os._exit(9)

    cdesk.state._STEPS = (*cdesk.state._STEPS, Dying(sys.argv[2]))
    cdesk.state.State(Path(sys.argv[1]))
"""
NEXT = "CREATE TABLE next (x INTEGER) STRICT; INSERT INTO next VALUES (1)"


def tables(path: Path) -> set[str]:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return {name for (name,) in connection.execute("SELECT name FROM sqlite_schema")}


def version(path: Path) -> int:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])


@pytest.mark.parametrize("is_new", [True, False], ids=["a new store", "an old one"])
def test_a_step_of_the_store_that_fails_is_told_leaves_nothing_and_is_made_once_it_is_mended(
    path: Path, monkeypatch: pytest.MonkeyPatch, is_new: bool
) -> None:
    if not is_new:
        with State(path) as state:
            state.set_flag("kill_switch", "credits", 1.0)
    steps = cdesk.state._STEPS
    monkeypatch.setattr(cdesk.state, "_STEPS", (*steps, "CREATE TABLE next (x); SELEKT 1"))
    for _ in range(2):
        with pytest.raises(StateError, match=f"brought from version {NOW} to {NOW + 1}") as failed:
            State(path)
        assert not isinstance(failed.value, StateBusy)
        assert version(path) == (0 if is_new else NOW)
        assert "next" not in tables(path)
    monkeypatch.setattr(cdesk.state, "_STEPS", (*steps, NEXT))
    with State(path) as state:
        assert set(state.flags()) == (set() if is_new else {"kill_switch"})
    assert version(path) == NOW + 1
    assert "next" in tables(path)


def test_a_step_of_the_store_that_was_interrupted_leaves_nothing_and_is_made_by_who_comes_next(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with State(path) as state:
        state.set_flag("kill_switch", "credits", 1.0)
    with child(STEP_DIES, path, NEXT) as dying:
        assert dying.ends() == 9
    assert (version(path), "next" in tables(path)) == (NOW, False)
    monkeypatch.setattr(cdesk.state, "_STEPS", (*cdesk.state._STEPS, NEXT))
    with State(path) as state:
        assert "kill_switch" in state.flags()
    assert (version(path), "next" in tables(path)) == (NOW + 1, True)


def test_everybody_who_opens_a_store_that_cannot_be_brought_to_this_version_says_so(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with State(settings.state_path):
        pass
    monkeypatch.setattr(cdesk.state, "_STEPS", (*cdesk.state._STEPS, "SELEKT 1"))
    for command in ("status", "query health", "worker", "serve"):
        with pytest.raises(SystemExit) as ended:
            main(["--data-dir", str(settings.data_dir), *command.split()])
        assert ended.value.code == StateError.exit_code, command
        assert f"cannot be brought from version {NOW} to {NOW + 1}" in capsys.readouterr().err, (
            command
        )
    monkeypatch.undo()
    assert read_status(settings)["worker_trouble"] == "none"
