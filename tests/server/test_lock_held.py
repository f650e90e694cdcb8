"""A server whose data folder's lock files another program holds."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

from cdesk.config import inherited_environment
from tests.child import Child, child
from tests.e2e.talk import make_settings

pytestmark = pytest.mark.slow

HOLDS = """
    import fcntl, sys

    with open(sys.argv[1], "w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        print("holds", flush=True)
        input()
"""
LOCKS = pytest.mark.parametrize("name", ["clients.lock", "state.lock"])


@contextmanager
def held_elsewhere(path: Path) -> Iterator[Child]:
    with child(HOLDS, path) as other:
        assert other.hears() == "holds"
        yield other


@contextmanager
def serving(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "cdesk", "serve"],
        env=inherited_environment(make_settings(folder)),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def read_until(stream: IO[bytes] | None, words: bytes) -> None:
    assert stream is not None
    for line in stream:
        if words in line:
            return
    raise AssertionError(f"{words!r} was not said")


@LOCKS
def test_a_server_says_which_lock_it_waits_for_and_serves_once_it_is_free(
    tmp_path: Path, name: str
) -> None:
    with held_elsewhere(tmp_path / name) as other, serving(tmp_path) as server:
        read_until(server.stderr, f"{tmp_path / name} is held by another program".encode())
        other.tell()
        other.ends()
        assert server.stdin is not None and server.stdout is not None
        server.stdin.write(b'{"jsonrpc":"2.0","id":1,"method":"ping"}\n')
        server.stdin.flush()
        assert json.loads(server.stdout.readline())["id"] == 1
        server.stdin.close()
        assert server.wait(timeout=30) == 0


@pytest.mark.proof
@LOCKS
def test_a_server_whose_lock_stays_held_ends_and_names_it(tmp_path: Path, name: str) -> None:
    with held_elsewhere(tmp_path / name), serving(tmp_path) as server:
        read_until(server.stderr, b"at most 10 s")
        read_until(server.stderr, f"lsof {tmp_path / name}".encode())
        assert server.wait(timeout=30) == 75
