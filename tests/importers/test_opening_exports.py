"""An export is known by its bytes; what cannot be one is refused with the next move."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path
from typing import Any

import pytest

from cdesk.errors import ImportFailed
from cdesk.importers import ExportFile, Unreadable, open_export

from .conversations import conversation, question, write_array, write_lines, write_zip

ONE = conversation(question())
TWO = conversation(question(), uuid="two")


def read(path: Path) -> list[Any]:
    with open_export(path) as file:
        return [raw.value for raw in file.conversations()]


def refusal(path: Path) -> str:
    with pytest.raises(ImportFailed) as caught:
        open_export(path)
    assert str(path) in str(caught.value)
    return str(caught.value)


def patched(path: Path, change: Any) -> Path:
    path.write_bytes(change(path.read_bytes()))
    return path


@pytest.mark.parametrize("write", [write_array, write_lines, write_zip])
@pytest.mark.parametrize("name", ["export.zip", "conversations.json", "export.jsonl", "download"])
def test_the_format_is_told_from_the_bytes_not_from_the_name(
    tmp_path: Path, write: Any, name: str
) -> None:
    assert read(write(tmp_path / name, ONE, TWO)) == [ONE, TWO]


def test_the_conversations_may_be_inside_a_folder_of_the_zip(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "e.zip", ONE, member="data-2026-11-20/conversations.json")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("__MACOSX/data-2026-11-20/conversations.json", b"\x00\x05")

    assert read(path) == [ONE]


def test_an_array_over_many_lines_is_an_array(tmp_path: Path) -> None:
    path = tmp_path / "e.json"
    path.write_text("\n \t" + json.dumps([ONE, TWO], indent=2) + "\n")

    assert read(path) == [ONE, TWO]


@pytest.mark.parametrize("write", [write_array, write_lines])
def test_a_byte_order_mark_is_passed_over(tmp_path: Path, write: Any) -> None:
    path = patched(write(tmp_path / "e", ONE, TWO), lambda content: b"\xef\xbb\xbf" + content)

    assert read(path) == [ONE, TWO]


def test_an_empty_array_has_no_conversations(tmp_path: Path) -> None:
    assert read(write_array(tmp_path / "e")) == []


def test_progress_counts_bytes_of_json(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "e.zip", *[ONE] * 50)

    with open_export(path) as file:
        assert file.bytes_total == len(json.dumps([ONE] * 50))
        list(file.conversations())
        assert file.bytes_read == file.bytes_total
    assert path.stat().st_size < file.bytes_total


def test_a_bad_line_is_reported_where_it_stands(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "e", ONE, TWO)
    patched(path, lambda content: content.replace(b"\n", b'\n{"uuid": \n7\n', 1))

    with open_export(path) as file:
        found = list(file.conversations())

    assert [(raw.index, raw.place) for raw in found] == [
        (0, "line 1"), (1, "line 2"), (2, "line 3"), (3, "line 4"),
    ]  # fmt: skip
    assert isinstance(found[1].value, Unreadable)
    assert found[2].value == Unreadable("is not a JSON object")
    assert found[3].value == TWO


def test_a_conversation_that_is_too_long_is_passed_over(tmp_path: Path) -> None:
    path = write_array(tmp_path / "e", ONE, conversation(question("x" * 5000)), TWO)

    with open_export(path) as file:
        found = [raw.value for raw in file.conversations(max_bytes=4000)]

    assert found[0] == ONE
    assert isinstance(found[1], Unreadable)
    assert "the longest that is read is 4,000" in found[1].reason
    assert found[2] == TWO


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    assert "No such file" in refusal(tmp_path / "absent.zip")


def test_a_folder_is_refused(tmp_path: Path) -> None:
    assert "is a folder; name the zip or the conversations.json in it" in refusal(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read everything")
def test_a_file_that_may_not_be_read_is_refused(tmp_path: Path) -> None:
    path = write_array(tmp_path / "e", ONE)
    path.chmod(0)

    assert "Permission denied" in refusal(path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"\xef\xbb\xbf \n", "is empty"),
        (b"uuid,name\n1,a\n", "holds neither a JSON array nor JSON lines"),
        (b"%PDF-1.7", "holds neither a JSON array nor JSON lines"),
        (b'"text"', "holds neither a JSON array nor JSON lines"),
        ("[]".encode("utf-16"), "is UTF-16 text"),
        (b'{\n  "uuid": "a"\n}', "one JSON object over several lines; put it between [ and ]"),
        (b"\x1f\x8b\x08\x00", "is compressed with gzip"),
        (b"PK\x03\x04 and then nothing", "cannot be read as a zip"),
        (b"PK\x05\x06" + b"\x00" * 18, "holds no conversations.json"),
    ],
)
def test_what_is_no_export_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "e"
    path.write_bytes(content)

    assert words in refusal(path)


def test_a_zip_without_conversations_is_refused(tmp_path: Path) -> None:
    assert "holds no conversations.json" in refusal(write_zip(tmp_path / "e", member="other.json"))


def test_a_zip_with_two_exports_is_refused(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "e", ONE, member="a/conversations.json")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("b/conversations.json", "[]")

    assert "2 files called conversations.json (a/conversations.json, b/con" in refusal(path)


def test_an_encrypted_zip_is_refused(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "e", ONE)

    def encrypt(content: bytes) -> bytes:
        changed = bytearray(content)
        for sign, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
            at = changed.find(sign)
            while at >= 0:
                changed[at + flags] |= 1
                at = changed.find(sign, at + 1)
        return bytes(changed)

    assert "is encrypted; unpack it" in refusal(patched(path, encrypt))


def test_an_unusual_compression_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "e"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("conversations.json", "[]")

    assert "is packed in an unusual way; unpack it" in refusal(path)


def test_a_zip_cut_short_is_refused(tmp_path: Path) -> None:
    path = patched(write_zip(tmp_path / "e", ONE), lambda content: content[:-30])

    assert "cannot be read as a zip" in refusal(path)


def test_a_zip_whose_names_are_damaged_is_refused(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "e", ONE)
    name = b"conversations.json"

    def damage(content: bytes) -> bytes:
        at = content.index(name)
        flags = content.rindex(b"PK\x03\x04", 0, at) + 6
        changed = bytearray(content)
        changed[flags + 1] |= 0x08  # the name is UTF-8
        changed[at : at + 2] = b"\xff\xfe"
        return bytes(changed)

    assert "cannot be read as a zip" in refusal(patched(path, damage))


def damaged(path: Path, count: int) -> Path:
    """A zip of `count` conversations whose checksum does not fit."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("conversations.json", json.dumps([ONE] * count))
    return patched(path, lambda content: content.replace(b"Orders", b"ORDERS", 1))


def test_a_damaged_archive_gives_what_it_can_and_says_so(tmp_path: Path) -> None:
    *whole, last = read(damaged(tmp_path / "e", 5000))

    assert len(whole) > 2000
    assert isinstance(last, Unreadable)
    assert last.is_end
    assert last.reason.startswith("the archive is damaged")


def test_an_archive_damaged_at_its_start_is_refused(tmp_path: Path) -> None:
    assert "the archive is damaged" in refusal(damaged(tmp_path / "e", 1))


def test_a_refused_file_is_closed(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    path = tmp_path / "e"
    path.write_bytes(b"no")
    refusal(path)

    assert not [warning for warning in recwarn if warning.category is ResourceWarning]


def test_closing_twice_is_fine(tmp_path: Path) -> None:
    file: ExportFile = open_export(write_array(tmp_path / "e"))
    file.close()
    file.close()
