"""An export of a gigabyte is imported in less than 300 MB of memory."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from .conversations import Json, answer, conversation, question, text_block, tool_result, tool_use

LIMIT_BYTES = 300_000_000

IMPORT = """
import json, pathlib, re, resource, sys, time
from cdesk.claude_export import import_export

started = time.perf_counter()
lines = []
summary = import_export(
    sys.argv[1], append_many=lambda batch: lines.append(len(batch)), customer="acme",
    source_version="1.0.0", with_text=sys.argv[2] == "with_text",
)
seconds = time.perf_counter() - started
status = pathlib.Path("/proc/self/status")
peak = (
    int(re.search(r"VmHWM:\\s+(\\d+)", status.read_text())[1]) * 1024 if status.exists()
    else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
)
print(json.dumps({"peak_bytes": peak, "mb_per_s": summary.bytes_read / 1e6 / seconds,
                  "appended": sum(lines), **summary.as_json()}))
"""


def talk(number: int) -> str:
    words = f"Revenue of week {number}, by region and channel: naïve forecast 🙂. " * 25
    rows = "\n".join(f"2026-09-{day:02},{number * day},EMEA" for day in range(1, 29)) * 4
    messages: list[Json] = []
    for turn in range(0, 8, 2):
        asked = question(words[:300], uuid=f"{number}-{turn}")
        found = answer(
            {"type": "thinking", "thinking": words},
            tool_use(id=f"t{turn}", input={"query": words[:200]}),
            tool_result(rows, tool_use_id=f"t{turn}"),
            text_block(words),
            uuid=f"{number}-{turn + 1}",
        )
        messages += [asked, found]
    return json.dumps(conversation(*messages, uuid=f"c{number}"), ensure_ascii=number % 2 == 0)


def write_big_zip(path: Path, size: int) -> None:
    """Writes about `size` bytes of conversations, the first nearly as long as allowed."""
    longest = json.dumps(
        conversation(question("🙂" + "x" * 29_900_000, content=[])), ensure_ascii=False
    )
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("conversations.json", "w", force_zip64=True) as member,
    ):
        member.write(b"[" + longest.encode())
        written, number = len(longest), 0
        while written < size:
            written += member.write(b",\n" + talk(number).encode())
            number += 1
        member.write(b"]")


def imported(path: Path, with_text: str) -> Json:
    ran = subprocess.run(
        [sys.executable, "-c", IMPORT, str(path), with_text],
        capture_output=True,
        text=True,
        check=True,
    )
    found: Json = json.loads(ran.stdout)
    return found


@pytest.mark.proof
@pytest.mark.timeout(600)
@pytest.mark.parametrize("with_text", ["without_text", "with_text"])
def test_a_gigabyte_is_imported_in_less_than_300_mb(tmp_path: Path, with_text: str) -> None:
    path = tmp_path / "export.zip"
    write_big_zip(path, 1_000_000_000)

    found = imported(path, with_text)

    print(f"peak {found['peak_bytes'] / 1e6:.0f} MB, {found['mb_per_s']:.0f} MB/s")
    assert found["bytes_read"] >= 1_000_000_000
    assert found["skipped_total"] == 0
    assert found["appended"] == sum(found["events"].values())
    assert found["peak_bytes"] < LIMIT_BYTES
