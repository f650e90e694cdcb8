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
import json, os, pathlib, re, resource, sys, time
from cdesk.__main__ import main

started = time.perf_counter()
try:
    main()
except SystemExit as ended:
    code = ended.code
status = pathlib.Path("/proc/self/status")
peak = (
    int(re.search(r"VmHWM:\\s+(\\d+)", status.read_text())[1]) * 1024 if status.exists()
    else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
)
print(json.dumps({"peak_bytes": peak, "seconds": time.perf_counter() - started, "code": code}))
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


def imported(path: Path, with_text: bool) -> Json:
    """What `cdesk import` printed, and the memory and time that its process took."""
    folder = path.parent / "data"
    ran = subprocess.run(
        [
            sys.executable, "-c", IMPORT, "--data-dir", str(folder), "import", "--json", str(path),
            *(["--with-text"] if with_text else []),
        ],
        capture_output=True,
        text=True,
        check=True,
    )  # fmt: skip
    printed, _, measured = ran.stdout.rstrip("\n").rpartition("\n")
    found: Json = json.loads(printed) | json.loads(measured)
    assert found["code"] in {0, 3}, ran.stderr
    return found


@pytest.mark.proof
@pytest.mark.timeout(600)
@pytest.mark.parametrize("with_text", [False, True], ids=["without_text", "with_text"])
def test_a_gigabyte_is_imported_in_less_than_300_mb(tmp_path: Path, with_text: bool) -> None:
    path = tmp_path / "export.zip"
    write_big_zip(path, 1_000_000_000)

    found = imported(path, with_text)

    mb_per_s = path.stat().st_size / 1e6 / found["seconds"]
    print(f"peak {found['peak_bytes'] / 1e6:.0f} MB, {mb_per_s:.0f} MB/s of the zip")
    assert found["skipped_total"] == 0
    assert found["events_new_total"] == sum(found["events"].values()) > 0
    assert found["peak_bytes"] < LIMIT_BYTES
