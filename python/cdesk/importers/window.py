"""A moving window over a stream of bytes, and where one JSON value in it ends.

Invariants: memory is bounded by the value at hand and one chunk; a value longer than allowed is
scanned to its end without being kept. `value_length` looks at brackets and quotes alone, so it
finds the end of a value whose inside is damaged; brackets inside texts and escaped quotes do not
count.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

CHUNK_BYTES: Final = 1024 * 1024

_OUTSIDE: Final = re.compile(
    rb'[^"{}\[\]]*+(?:"[^"\\]*+(?:\\.[^"\\]*+)*+"[^"{}\[\]]*+)*+', re.DOTALL
)
_INSIDE: Final = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)
_ATOM: Final = re.compile(rb'[^\s,{}\[\]"]*+')
_QUOTE: Final = ord('"')
_OPENERS: Final = b"{["


class Torn(Exception):
    """The bytes stop before their end; the message says why, without a full stop."""


class Window:
    """The bytes between what was consumed and what was read so far."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        """`read(n)` returns at most `n` bytes, none at the end; it may raise `Torn`."""
        self._read = read
        self.buffer = bytearray()
        self.start = 0
        """The offset of the buffer's first byte in the stream."""

    def fill(self) -> bool:
        """Reads one more chunk behind the buffer; false at the stream's end."""
        chunk = self._read(CHUNK_BYTES)
        self.buffer += chunk
        return bool(chunk)

    def drop(self, count: int) -> None:
        """Consumes the first `count` bytes of the buffer."""
        del self.buffer[:count]
        self.start += count

    def skip(self, gap: re.Pattern[bytes]) -> bool:
        """Consumes everything that `gap` matches; false when the stream ends with it."""
        while True:
            self.drop(_end(gap, self.buffer, 0))
            if self.buffer:
                return True
            if not self.fill():
                return False

    def let_go(self, at: int, here: int, max_bytes: int) -> int:
        """Forgets the first `here` bytes of a span from offset `at` that is already too long.

        Returns where to go on scanning in the buffer.
        """
        if self.start + here - at <= max_bytes:
            return here
        self.drop(here)
        return 0


def value_length(window: Window, max_bytes: int) -> int | None:
    """How many bytes of the buffer belong to the JSON value that starts at its first byte.

    Of a value longer than `max_bytes` only an end is left in the buffer: compare `window.start`
    before and after. 0 when no value starts there, `None` when the stream ends inside it.
    """
    first = window.buffer[0]
    in_text = first == _QUOTE
    is_atom = not in_text and first not in _OPENERS
    at, here, depth = window.start, int(in_text), 0
    while True:
        here = _end(_ATOM if is_atom else _INSIDE if in_text else _OUTSIDE, window.buffer, here)
        if here < len(window.buffer):
            byte = window.buffer[here]
            if is_atom:
                return here
            if byte == _QUOTE:
                in_text = not in_text
            elif not in_text:
                depth += 1 if byte in _OPENERS else -1
            if byte == _QUOTE or not in_text:  # else a backslash whose other half is not read yet
                here += 1
                if depth == 0 and not in_text:
                    return here
                continue
        here = window.let_go(at, here, max_bytes)
        if not window.fill():
            return here if is_atom and here else None


def _end(pattern: re.Pattern[bytes], buffer: bytearray, start: int) -> int:
    match = pattern.match(buffer, start)
    return start if match is None else match.end()
