"""The right that one process has at a time."""

import stat
import threading
from pathlib import Path

import pytest
from cdesk_core import Lease, LeaseHeld


def test_it_is_held_until_it_is_released(tmp_path: Path) -> None:
    path = tmp_path / "worker.lock"
    with Lease(path) as lease, pytest.raises(LeaseHeld, match=r"worker\.lock"):
        Lease(path)
    lease.release()
    Lease(path).release()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_shared_holders_keep_an_exclusive_one_out(tmp_path: Path) -> None:
    path = tmp_path / "worker.lock"
    with Lease(path, shared=True), Lease(path, shared=True), pytest.raises(LeaseHeld):
        Lease(path)
    with Lease(path), pytest.raises(LeaseHeld):
        Lease(path, shared=True)


def test_who_waits_to_share_a_lease_waits_for_nobody_who_shares_it(tmp_path: Path) -> None:
    path = tmp_path / "worker.lock"
    with Lease(path, shared=True), Lease(path, shared=True, wait=True), pytest.raises(LeaseHeld):
        Lease(path)


def test_waiting_lets_other_threads_run(tmp_path: Path) -> None:
    path = tmp_path / "worker.lock"
    lease = Lease(path)
    taken = threading.Event()

    def wait() -> None:
        with Lease(path, wait=True):
            taken.set()

    thread = threading.Thread(target=wait)
    thread.start()
    assert not taken.is_set()
    lease.release()
    thread.join()
    assert taken.is_set()


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "target")
    with pytest.raises(OSError):
        Lease(tmp_path / "link")
    assert not (tmp_path / "target").exists()
