"""Opens an export, whatever its file is called, and yields its conversations one at a time.

Invariants: the format is told from the bytes, never from the name; a file that cannot be an export
is refused before anything is yielded; a conversation that cannot be read is yielded as a reason in
its place; a file that stops early (a broken download, a damaged archive) yields everything before
the break and then says so. Memory holds one conversation of at most `MAX_CONVERSATION_BYTES`, so
neither a large file nor an archive that inflates without end can fill it.
"""

from __future__ import annotations

import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final, NamedTuple

from cdesk.closing import Closing
from cdesk.errors import ImportFailed
from cdesk.importers.split import Span, array_spans, line_spans
from cdesk.importers.window import Torn, Window

MAX_CONVERSATION_BYTES: Final = 30_000_000
"""The longest conversation that is read, as JSON; one character may take 4 bytes of memory."""

MEMBER: Final = "conversations.json"
"""The file of the archive that holds the conversations."""

_BLANK: Final = b" \t\r\n"
_BOM_UTF8: Final = b"\xef\xbb\xbf"
_BOMS_UTF16: Final = (b"\xff\xfe", b"\xfe\xff")
_ZIP_STARTS: Final = (b"PK\x03\x04", b"PK\x05\x06")
_HEAD_BYTES: Final = 4096
_DAMAGE: Final = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    RuntimeError,  # encrypted or unsupported, by the member's own header
    ValueError,  # a name that is not UTF-8, an offset outside the file
    struct.error,
)
"""What `zipfile` raises for archives that are damaged."""


class Unreadable(NamedTuple):
    """Why a conversation could not be read."""

    reason: str
    is_end: bool = False
    """Whether nothing after it could be read either."""


@dataclass(frozen=True, slots=True)
class Raw:
    """One conversation of the file as it stands there."""

    index: int
    """Its position in the file, from 0."""
    place: str
    """Where it starts, such as `byte 2` or `line 1`."""
    value: dict[str, Any] | Unreadable


class ExportFile(Closing):
    """An open export; made by `open_export`, closed by `with` or `close`."""

    def __init__(self, path: Path, stack: ExitStack, stream: IO[bytes], bytes_total: int) -> None:
        """Takes over what `stack` has to close, unless it raises."""
        self.path = path
        self.bytes_total = bytes_total
        """The size of the JSON in bytes: of the file, or of its member once it is inflated."""
        self.bytes_read = 0
        """The bytes of JSON read so far; at most `bytes_total` for a file nobody writes to."""
        self._stream = stream
        self._window = Window(self._read)
        self._is_array = self._starts_as_array()
        self._stack = stack.pop_all()

    def conversations(self, max_bytes: int = MAX_CONVERSATION_BYTES) -> Iterator[Raw]:
        """The conversations in the order of the file; may be called once.

        A conversation of more than `max_bytes` of JSON is passed over and yielded as `Unreadable`.
        """
        spans = array_spans if self._is_array else line_spans
        for index, span in enumerate(spans(self._window, max_bytes)):
            yield Raw(index, span.place, _conversation(span))

    def close(self) -> None:
        """Closes the file; closing twice is fine."""
        self._stack.close()

    def _read(self, count: int) -> bytes:
        try:
            chunk = self._stream.read(count)
        except _DAMAGE as error:
            raise Torn(f"the archive is damaged ({error}); nothing more was read") from error
        except OSError as error:
            raise Torn(f"the file cannot be read on ({error.strerror})") from error
        self.bytes_read += len(chunk)
        return chunk

    def _starts_as_array(self) -> bool:
        """Consumes what comes before the first conversation; false for lines."""
        window = self._window
        try:
            while len(window.buffer) < _HEAD_BYTES and window.fill():
                pass
        except Torn as torn:
            raise ImportFailed(f"{self.path}: {torn}; download the export again") from torn
        if window.buffer.startswith(_BOMS_UTF16):
            raise ImportFailed(
                f"{self.path} is UTF-16 text; an export is UTF-8: save it as UTF-8 or use the file "
                "as it was downloaded"
            )
        if window.buffer.startswith(_BOM_UTF8):
            window.drop(len(_BOM_UTF8))
        head = bytes(window.buffer[:_HEAD_BYTES]).lstrip(_BLANK)
        if head.startswith(b"["):
            window.drop(window.buffer.index(b"[") + 1)
            return True
        if not head.startswith(b"{"):
            found = "holds neither a JSON array nor JSON lines" if head else "is empty"
            raise ImportFailed(f"{self.path} {found}; {_WANTED}")
        if head[1:].lstrip(b" \t\r").startswith(b"\n"):
            raise ImportFailed(
                f"{self.path} is one JSON object over several lines; put it between [ and ], or "
                f"name the export itself: {_WANTED}"
            )
        return False


_WANTED: Final = (
    f"expected the zip that Claude's data export sends, its {MEMBER}, or one conversation a line"
)


def open_export(path: str | Path) -> ExportFile:
    """Opens a zip with `conversations.json`, a JSON array of conversations, or JSON lines.

    Raises:
        ImportFailed: the file cannot be opened or cannot be an export; names it and the next move.
    """
    path = Path(path)
    with ExitStack() as stack:
        try:
            file = stack.enter_context(_opened(path))
            start = file.read(len(_ZIP_STARTS[0]))
            file.seek(0)
            bytes_total = path.stat().st_size
        except IsADirectoryError as error:
            raise ImportFailed(f"{path} is a folder; name the zip or the {MEMBER} in it") from error
        except OSError as error:
            raise ImportFailed(f"{path} cannot be opened: {error.strerror}") from error
        stream: IO[bytes] = file
        if start in _ZIP_STARTS:
            stream, bytes_total = _open_member(path, file, stack)
        elif start.startswith(b"\x1f\x8b"):
            raise ImportFailed(
                f"{path} is compressed with gzip; unpack it first: gunzip {path.name}"
            )
        return ExportFile(path, stack, stream, bytes_total)


def _opened(path: Path) -> IO[bytes]:
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return os.fdopen(descriptor, "rb")
    os.close(descriptor)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError
    raise ImportFailed(f"{path} is not a regular file; save what it gives into one and import that")


def _open_member(path: Path, file: IO[bytes], stack: ExitStack) -> tuple[IO[bytes], int]:
    """The stream and the inflated size of the archive's conversations."""
    try:
        archive = stack.enter_context(zipfile.ZipFile(file))
        found = [member for member in archive.infolist() if _holds_conversations(member.filename)]
        if not found:
            raise ImportFailed(
                f"{path} holds no {MEMBER}; choose the zip that Claude's data export sent, not one "
                "of its parts"
            )
        if len(found) > 1:
            names = ", ".join(sorted(member.filename for member in found)[:3])
            raise ImportFailed(
                f"{path} holds {len(found)} files called {MEMBER} ({names}); unpack it and import "
                "them one after the other"
            )
        member = found[0]
        if member.flag_bits & 0x1:
            raise ImportFailed(f"{path} is encrypted; unpack it and import its {MEMBER}")
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ImportFailed(
                f"{path} is packed in an unusual way; unpack it and import its {MEMBER}"
            )
        return stack.enter_context(archive.open(member)), member.file_size
    except (*_DAMAGE, OSError) as error:
        raise ImportFailed(
            f"{path} cannot be read as a zip ({error}); download the export again"
        ) from error


def _holds_conversations(name: str) -> bool:
    folders, _, base = name.rpartition("/")
    return base == MEMBER and not folders.startswith("__MACOSX")


def _conversation(span: Span) -> dict[str, Any] | Unreadable:
    if span.reason:
        return Unreadable(span.reason, span.is_end)
    if not isinstance(span.value, dict):
        return Unreadable("is not a JSON object")
    return span.value
