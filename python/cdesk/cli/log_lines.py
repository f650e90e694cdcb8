"""The good lines of a log, for `cdesk log cat` and `cdesk log tail`."""

from __future__ import annotations

import select
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import cdesk_core

from cdesk.cli.descriptors import has_reader_left
from cdesk.cli.log_report import short_name
from cdesk.cli.output import console, say_error
from cdesk.cli.plain import plain, plain_json
from cdesk.errors import InvalidArgument

_LOOK_EVERY_MS: Final = 200
_OWN_FIELDS: Final = b'"_seq":'

Write = Callable[[Iterable[bytes]], None]
"""Takes lines as they stand in the log, each with its line break."""


def chosen(directory: Path, names: Sequence[str]) -> list[cdesk_core.SegmentView]:
    """The segments of those names, with or without `seg-` and `.ndjson`; all when none is named.

    Raises:
        InvalidArgument: there is no such segment.
    """
    views = cdesk_core.inspect(directory)
    wanted = {short_name(name) for name in names}
    unknown = wanted - {short_name(view.name) for view in views}
    if unknown:
        raise InvalidArgument(
            f"{directory} has no segment {min(unknown)}; `cdesk log stat` lists them"
        )
    return [view for view in views if not wanted or short_name(view.name) in wanted]


def without_own_fields(line: bytes) -> bytes:
    """A good line as its caller appended it, with its line break."""
    head = line[: line.rindex(_OWN_FIELDS)]  # the last: a caller's text may hold the same
    return head.removesuffix(b",") + b"}\n"


def writes_to_stdout(*, is_raw: bool) -> Write:
    """What prints lines, coloured on a terminal, for as long as somebody reads them.

    Args:
        is_raw: with the log's own fields and, where stdout is no terminal, byte for byte. Otherwise
            each line is the same JSON with nothing in it that steers a terminal: behind a pipe is
            often one.
    """
    if sys.stdout.isatty():
        show = _show_coloured
    else:
        show = _show_bytes if is_raw else _show_plain

    def write(lines: Iterable[bytes]) -> None:
        if not has_reader_left():
            show(lines if is_raw else map(without_own_fields, lines))
            sys.stdout.flush()

    return write


def _show_plain(lines: Iterable[bytes]) -> None:
    _show_bytes(plain_json(line.decode()).encode() for line in lines)


def _show_bytes(lines: Iterable[bytes]) -> None:
    for line in lines:
        sys.stdout.buffer.write(line)
        if has_reader_left():  # `| head` has enough
            return
    sys.stdout.buffer.flush()


def _show_coloured(lines: Iterable[bytes]) -> None:
    from rich.highlighter import JSONHighlighter
    from rich.text import Text

    terminal, highlighter = console(), JSONHighlighter()
    for line in lines:
        text = Text(plain(line.decode().rstrip("\n")))
        highlighter.highlight(text)
        terminal.print(text, soft_wrap=True)


class Follower:
    """Reads the end of a log, and then what is appended, over all segments and their writers."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._views: dict[str, cdesk_core.SegmentView] = {}
        self._seen: set[str] = set()

    def last(self, count: int) -> list[bytes]:
        """The last lines in the order (segment, sequence); what comes later is left to `read`."""
        last: list[bytes] = []
        for view in reversed(self._discover()):
            if len(last) < count or view.state == "open":
                # of an open one what is there may be older than enough; what comes is not
                last[:0] = deque(readable_lines(view), maxlen=count - len(last))
            if view.state != "open":
                self._views.pop(view.name, None)
        return last

    def read(self) -> Iterator[bytes]:
        """The lines that came since, of each segment in turn."""
        self._discover()
        for name, view in sorted(self._views.items()):
            yield from readable_lines(view)
            if view.is_ended or view.state == "unreadable":
                del self._views[name]

    def follow(self, write: Write) -> None:
        """Writes the lines that come, until Ctrl-C, or until nobody reads them any more."""
        gone = select.poll()
        gone.register(sys.stdout.fileno(), 0)  # asks for nothing: a reader that left is told anyway
        with suppress(KeyboardInterrupt):
            while True:
                write(self.read())
                if gone.poll(_LOOK_EVERY_MS):
                    return

    def _discover(self) -> list[cdesk_core.SegmentView]:
        """The segments that were not there before, oldest first."""
        there = {path.name for path in self._directory.glob("seg-*.ndjson")}
        if there <= self._seen:
            return []
        new = [view for view in cdesk_core.inspect(self._directory) if view.name not in self._seen]
        self._seen |= there | {view.name for view in new}
        self._views |= {view.name: view for view in new}
        return new


def readable_lines(view: cdesk_core.SegmentView) -> Iterator[bytes]:
    """As `good_lines`; a segment that cannot be read says so on stderr and costs only itself."""
    try:
        yield from good_lines(view)
    except (OSError, cdesk_core.Error) as error:
        say_error(f"{view.name}: {error}")


def good_lines(view: cdesk_core.SegmentView) -> Iterator[bytes]:
    """The good lines of a segment from where it was read to, each with its line break."""
    while ndjson := view.read():
        for line in ndjson.split(b"\n")[:-1]:  # not splitlines, for which \r is a break too
            yield line + b"\n"
