"""What a table leaves out where the terminal is narrower than it."""

from __future__ import annotations

import json
import re
from pathlib import Path

from hypothesis import example, given
from hypothesis import strategies as st
from rich.cells import cell_len

from cdesk.config import Settings

from .terminal import on_a_terminal
from .test_manners import drawn


@given(st.integers(36, 140), st.text("abc ", max_size=200), st.integers(0, 10**12))
@example(80, "chat_messages[3].content[12].text: is not a text", 1)
def test_the_column_that_is_needed_is_left_out_last(width: int, reason: str, number: int) -> None:
    """On 80 columns it was why a conversation was left out that was not shown."""
    one = "5c0a3c0e-0000-4000-8000-000000000001"
    row = (one, f"byte {number}", number, reason)
    shown = drawn(width, row, columns=("conversation", "where", "size", "why"), needed="why")
    table_shown, _, told = shown.partition("not shown")
    assert "why" in table_shown and "why" not in told
    assert max(map(cell_len, shown.splitlines())) <= width
    assert f" {number:,} " in table_shown or "size" in told
    assert "".join(reason.split()) in "".join(re.sub(r"[│┃\s]+", " ", cells(table_shown)).split())


def cells(shown: str) -> str:
    """What stands in the last column of a table."""
    return " ".join(line.split("│")[-2] for line in shown.splitlines() if "│" in line)


def test_on_eighty_columns_an_import_says_why_a_conversation_was_left_out(
    settings: Settings, tmp_path: Path
) -> None:
    export = tmp_path / "export.json"
    message = {
        "uuid": "5c0a3c0e-0000-4000-8000-000000000002",
        "sender": "human",
        "created_at": "2026-01-01T00:00:00Z",
        "attachments": [7],
    }
    export.write_text(
        json.dumps([{
            "uuid": "5c0a3c0e-0000-4000-8000-000000000001",
            "created_at": "2026-01-01T00:00:00Z",
            "chat_messages": [message],
        }])
    )  # fmt: skip
    arguments = ("import", str(export), "--dry-run")
    exit_code, arrived = on_a_terminal(settings.data_dir, *arguments, columns=80)
    assert exit_code == 3
    assert b"why it was left out" in arrived.partition(b"not shown")[0]
