"""A Redis server of our own, on a free loopback port, and the fewest bytes that talk to it."""

from __future__ import annotations

import shutil
import socket
import subprocess
import threading
import time
from pathlib import Path

START_S = 10.0


class Redis:
    """RPUSH to an append-only file that is synced before the answer; one socket per thread."""

    def __init__(self, folder: Path) -> None:
        program = shutil.which("redis-server")
        if program is None:
            raise FileNotFoundError("redis-server is not on this machine")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._address = probe.getsockname()
        self._server = subprocess.Popen(
            [
                program,
                *("--bind", "127.0.0.1", "--port", str(self._address[1]), "--dir", str(folder)),
                *("--appendonly", "yes", "--appendfsync", "always", "--save", ""),
                *("--maxclients", "5000"),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._local = threading.local()
        deadline = time.monotonic() + START_S
        while True:
            try:
                self._socket()
                return
            except ConnectionRefusedError:
                if time.monotonic() > deadline or self._server.poll() is not None:
                    self.close()
                    raise
                time.sleep(0.02)

    def _socket(self) -> socket.socket:
        found: socket.socket | None = getattr(self._local, "socket", None)
        if found is None:
            found = socket.create_connection(self._address)
            found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._local.socket = found
        return found

    def append(self, line: bytes) -> None:
        connection = self._socket()
        connection.sendall(b"*3\r\n$5\r\nRPUSH\r\n$1\r\nq\r\n$%d\r\n%b\r\n" % (len(line), line))
        answer = connection.recv(64)
        if not answer.startswith(b":"):
            raise OSError(f"Redis refused: {answer!r}")

    def close(self) -> None:
        """Ends the server that this object started, by its process id."""
        self._server.terminate()
        self._server.wait(30)
