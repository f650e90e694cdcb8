"""Cards: small enough for a conversation, whatever the answer."""

from __future__ import annotations

from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from cdesk.query.card import MAX_CARD_BYTES, PREVIEW_ROWS, make_card
from tests.json_values import VALUES

PROVENANCE = {
    "template": "tool_usage",
    "template_version": 1,
    "params": {"days": 30},
    "query_hash": "0123456789abcdef",
    "query_tag": "cdesk_01234567",
    "bytes_scanned": 1_234,
    "rows": 2,
    "duration_ms": 12.5,
    "sampled": False,
}
LINK = "file:///srv/data/artifacts/0f8fad5b.parquet"
WIDE = st.sampled_from(["x", "ü", "😀", '"', "\x00", "\\"]).map(lambda text: text * 1_000)
CELLS = VALUES | WIDE | st.lists(WIDE, max_size=3) | st.fixed_dictionaries({"key": WIDE})


def tables(most_columns: int) -> st.SearchStrategy[list[list[Any]]]:
    return st.integers(1, most_columns).flatmap(
        lambda columns: st.lists(st.lists(CELLS, min_size=columns, max_size=columns), max_size=15)
    )


def card_of(rows: list[list[Any]], **changes: Any) -> dict[str, Any]:
    width = len(rows[0]) if rows else 1
    fields = {
        "headline": "2 tools were used",
        "columns": [f"column_{number}" for number in range(width)],
        "rows": rows,
        "row_count": len(rows),
        "is_capped": False,
        "link": LINK,
        "provenance": PROVENANCE,
    }
    return make_card(**(fields | changes))


@given(
    st.lists(WIDE | st.text(max_size=40), min_size=1, max_size=3_000),
    WIDE,
    st.dictionaries(st.text(max_size=30), WIDE, max_size=60),
    st.booleans(),
)
def test_a_card_is_small_whatever_its_columns_its_headline_and_its_parameters_are(
    columns: list[str], headline: str, params: dict[str, str], is_sampled: bool
) -> None:
    percent = {"sampled_percent": 0.01} if is_sampled else {}
    card = card_of(
        [["x"] * len(columns)] * 3,
        columns=columns,
        headline=headline,
        link="file:///" + "a" * 1_992,
        provenance=PROVENANCE | percent | {"params": params},
        is_behind=True,
    )
    assert len(orjson.dumps(card)) <= 8_000
    assert len(card["columns"]) == len(columns) or card["column_count"] == len(columns)
    assert len(card["provenance"]["params"]) == len(params) or (
        card["provenance"]["param_count"] == len(params)
    )
    assert all(len(row) == len(card["columns"]) for row in card["rows"])
    assert card["headline"].startswith("SAMPLE of 0.01 %: ") == is_sampled


@given(tables(20), st.integers(0, 10**12))
def test_a_card_never_has_more_than_ten_rows_nor_8_000_bytes(
    rows: list[list[Any]], more: int
) -> None:
    card = card_of(rows, row_count=len(rows) + more)
    assert len(card["rows"]) <= PREVIEW_ROWS == 10
    assert len(orjson.dumps(card)) <= 8_000
    assert card["provenance"] == PROVENANCE
    assert card["link"] == LINK
    assert card["row_count"] == len(rows) + more


@given(tables(5))  # of so few columns every row fits alone
def test_the_rows_of_a_card_are_the_first_ones_and_it_says_when_there_are_more(
    rows: list[list[Any]],
) -> None:
    card = card_of(rows)
    shown = len(card["rows"])
    whole = card_of(rows[:shown])
    assert card["rows"] == whole["rows"]
    assert card.get("rows_shown", shown) == shown
    assert ("rows_shown" in card) == (shown < len(rows))
    if shown < min(len(rows), PREVIEW_ROWS):  # it left out no more rows than it had to
        one_more = card["rows"] + [card_of([rows[shown]])["rows"][0]]
        assert len(orjson.dumps(card | {"rows": one_more})) > MAX_CARD_BYTES


def test_a_small_answer_is_shown_whole_as_it_is() -> None:
    rows = [["search", 12, 0.5, None, True], ["read", 3, 1.0, "x" * 160, {"a": [1]}]]
    card = card_of(rows)
    assert card == {
        "headline": "2 tools were used",
        "columns": ["column_0", "column_1", "column_2", "column_3", "column_4"],
        "rows": rows,
        "row_count": 2,
        "link": LINK,
        "provenance": PROVENANCE,
    }


def test_a_long_cell_is_shortened_visibly() -> None:
    (row,) = card_of([["x" * 161, ["y" * 200], {"key": "z" * 200}]])["rows"]
    assert row[0] == "x" * 160 + "…"
    assert row[1].startswith('["yyy')
    assert row[2].startswith('{"key":"zzz')
    assert all(len(cell) == 161 and cell.endswith("…") for cell in row)


def test_a_card_of_a_sample_says_so_in_its_headline_and_its_provenance() -> None:
    provenance = PROVENANCE | {"sampled": True, "sampled_percent": 2.5}
    card = card_of([[1]], provenance=provenance)
    assert card["headline"] == "SAMPLE of 2.5 %: 2 tools were used"
    assert card["provenance"]["sampled"] is True


def test_a_capped_answer_says_so() -> None:
    assert card_of([[1]], is_capped=True)["is_capped"] is True
    assert "is_capped" not in card_of([[1]])


def test_an_answer_without_rows_is_a_card_too() -> None:
    card = card_of([])
    assert (card["rows"], card["row_count"]) == ([], 0)
    assert "rows_shown" not in card


def test_a_card_says_that_something_is_on_its_way_and_not_how_much_of_whose() -> None:
    card = card_of([[1]], is_behind=True)
    assert card["is_behind"] is True
    assert card["headline"] == "2 tools were used (without what is still being uploaded)"
    assert "is_behind" not in card_of([[1]])
