"""The formats of the log and of the tags, written down apart from the code that writes them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

_POLYNOMIAL: Final = 0x82F63B78


def crc32c(data: bytes, before: int = 0) -> int:
    """CRC-32C (Castagnoli) of what had the checksum `before`, followed by the data."""
    crc = before ^ 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (_POLYNOMIAL if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def segment(name: str, lines: Iterable[bytes], *, is_sealed: bool) -> bytes:
    """A segment of format 2, without the zeros written ahead."""
    written = b""
    bodies = [
        line[:-1] + (b"," if line != b"{}" else b"") + b'"_seq":%d,"_log":2' % number
        for number, line in enumerate(lines)
    ]
    if is_sealed:
        bodies.append(b'{"_sealed":{"lines":%d},"_log":2' % len(bodies))
    for body in bodies:
        seed = crc32c(name.encode() + len(written).to_bytes(8, "little"))
        written += body + b',"_crc":"%08x"}\n' % crc32c(body, seed)
    return written


def position(consumed: str, safe: str, generation: int) -> bytes:
    """What one of the two slots of a position file begins with."""
    text = f"{consumed} {safe} {generation}".encode()
    return text + b" %08x\n" % crc32c(text)


def slots(file: bytes) -> list[tuple[str, str, int]]:
    """What the two slots of a position file say: consumed, safe, generation; the newest last.

    Raises:
        AssertionError: the file has not the form of one.
    """
    size, rest = divmod(len(file), 2)
    assert rest == 0
    assert size >= 32 << 10
    found = []
    for slot in (file[:size], file[size:]):
        if slot.strip(b"\0"):
            consumed, safe, generation, _ = slot.split(b"\n")[0].decode().split(" ")
            said = consumed, safe, int(generation)
            assert slot.startswith(position(*said))
            found.append(said)
    return sorted(found, key=lambda said: said[2])


def tags(key: str, following: int) -> bytes:
    """The file of the tags: a key of 64 hex digits, and the first number that nobody reserved."""
    text = f"cdesk-tags 1 {key} {following}".encode()
    return text + b" %08x\n" % crc32c(text)


def unframed(lines: bytes) -> list[bytes]:
    """The lines as their callers wrote them: without the log's three fields."""
    bodies = [line[: line.rindex(b'"_seq":')] for line in lines.splitlines()]
    return [body.removesuffix(b",") + b"}" for body in bodies]
