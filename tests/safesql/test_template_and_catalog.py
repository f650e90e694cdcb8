"""Files become templates, templates a catalogue, results a sentence."""

from __future__ import annotations

import re
import subprocess
import sys
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import cdesk_core
import pytest

from cdesk.errors import TemplateError, UnknownTemplate
from cdesk.safesql.catalog import Catalog
from cdesk.safesql.template import load_template

from .questions import CATALOG, question, sql_folder

GOOD = (sql_folder("templates") / "tool_usage.sql").read_text()


def written(folder: Path, text: str, name: str = "tool_usage") -> Path:
    path = folder / f"{name}.sql"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("before", "after", "rule"),
    [
        ("/*\n", "", "must start with"),
        ("version = 1", "version = 0", "version must be a whole number"),
        ("version = 1", "version = true", "version must be a whole number"),
        ("version = 1\n", "", "lacks version"),
        ("version = 1", "version = 1\nauthor = 1", "unknown key author"),
        ("version = 1", "version = = 1", "Invalid"),
        ('name = "tool_usage"', 'name = "other"', "the name of the file"),
        ("row_cap = 500", "row_cap = 1000000", "row_cap must be"),
        ("{calls:call|calls}", "{calls:>9999999} calls", "without formats"),
        ("{calls:call|calls}", "{calls:call}", "without formats"),
        ("{calls:call|calls}", "{calls:{tool}|calls}", "without formats"),
        ("{calls:call|calls}", "{calls.__class__} calls", "without formats"),
        ("{calls:call|calls}", "{0} calls", "without formats"),
        ('kind = "bar"', 'kind = "pie"', "chart.kind"),
        ('tags = ["tools"', "tags = [1", "tags must be"),
        ('called = "cdesk.tool_called"', "called = 2026-01-01", "constants.called"),
        ('called = "cdesk.tool_called"', 'days = "x"', "name no other bind"),
        ("SELECT", "-- all\nSELECT", "no comments"),
        ("SELECT", "// all\nSELECT", "no comments"),
        ("SELECT", "/* all */ SELECT", "no comments"),
        (":unnamed)", "'none')", "character"),
        (":unnamed)", "\u2018none\u2019)", "character"),
        ("FROM used", "FROM used;", "character"),
        ("FROM used", "FROM cdesk_used", "reserved"),
    ],
)
def test_a_file_that_breaks_a_rule_is_refused_with_its_name_and_the_rule(
    tmp_path: Path, before: str, after: str, rule: str
) -> None:
    assert before in GOOD
    path = written(tmp_path, GOOD.replace(before, after, 1))
    with pytest.raises(TemplateError, match=rule) as refused:
        load_template(path)
    assert str(path) in str(refused.value)


def test_a_file_that_is_no_text_or_too_long_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.sql"
    path.write_bytes(b"/*\n\xff\n*/\nSELECT")
    with pytest.raises(TemplateError, match="UTF-8"):
        load_template(path)
    path.write_bytes(b" " * 100_000)
    with pytest.raises(TemplateError, match="at most"):
        load_template(path)
    with pytest.raises(TemplateError, match="cannot be read"):
        load_template(tmp_path / "absent.sql")


def test_line_ends_of_another_system_make_no_other_question(tmp_path: Path) -> None:
    path = tmp_path / "tool_usage.sql"
    path.write_bytes(GOOD.replace("\n", "\r\n").encode())
    assert load_template(path).source == CATALOG.get("tool_usage").source


def test_the_source_changes_with_the_select_and_its_constants_and_nothing_else(
    tmp_path: Path,
) -> None:
    def source(before: str, after: str) -> str:
        return load_template(written(tmp_path, GOOD.replace(before, after, 1))).source

    same = CATALOG.get("tool_usage").source
    assert source("days to look back", "how far back") == same
    assert source("(unnamed)", "(nameless)") != same
    assert source("row_cap = ", "row_cap = 1") != same
    assert source("ORDER BY calls DESC", "ORDER BY calls") != same


def test_spaces_in_a_constant_are_part_of_the_question(tmp_path: Path) -> None:
    """The same hash answered 0, then 5."""

    def query_hash(text: str) -> str:
        changed = load_template(written(tmp_path, GOOD.replace("(unnamed)", text, 1)))
        return cdesk_core.query_hash(changed.source, {})

    texts = ["file read", "file  read", " file read", "file\\tread", "file\\u00a0read"]
    assert len({query_hash(text) for text in texts}) == len(texts)


@pytest.mark.timeout(5)
def test_a_header_made_to_be_slow_is_refused_at_once(tmp_path: Path) -> None:
    slow = GOOD.replace("[params.days]", ".".join("a" * 20_000) + " = 1\n[params.days]")
    with pytest.raises(TemplateError, match="too many dots"):
        load_template(written(tmp_path, slow))


def test_the_headline_says_the_result_in_words() -> None:
    template = question(
        "SELECT link FROM events ORDER BY link", header='[params.x]\ntype="date"\ndescription="d"'
    )
    assert template.sentence(0, {}) == "none"
    assert template.sentence(12_345, {}) == "12,345 rows"
    assert template.sentence(1, {}) == "1 row"
    tools = CATALOG.get("tool_usage")
    first = {"tool": "search", "calls": 1200, "failed_percent": 2.50}
    assert (
        tools.sentence(3, first)
        == "3 tools in use; search leads with 1,200 calls; 2.5 % of those that ended failed"
    )
    assert "unknown leads with unknown" in tools.sentence(3, {})


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        (True, "yes"),
        (Decimal("10.50"), "10.5"),
        ("a\n b", "a b"),
        ("x" * 100, "x" * 79 + "…"),
        ("{rows}", "{rows}"),
        (datetime(2026, 1, 2), "2026-01-02"),
        ("2026-01-02T03:04:05.678901", "2026-01-02 03:04"),
    ],
)
def test_a_cell_is_said_as_people_write_it(cell: object, said: str) -> None:
    sentence = CATALOG.get("tool_usage").sentence(1, {"tool": cell, "calls": 1})
    assert f"; {said} leads" in sentence


TEXTS = dict.fromkeys(
    (
        "activity", "next_activity", "place", "tool", "metric", "subject", "model", "period",
        "period_start", "day_utc", "ts_utc", "template", "template_version", "outcome",
        "value_text", "recorded_ts_utc", "cohort_week", "health_score", "last_percent",
        "failed_percent",
    ),
    "text",
)  # fmt: skip
"""The fields of headlines that count nothing."""


@pytest.mark.parametrize("name", [template.name for template in CATALOG])
def test_no_headline_says_one_of_many_or_many_of_one(name: str) -> None:
    template = CATALOG.get(name)

    def said(number: int) -> str:
        return template.sentence(number, dict.fromkeys(template.headline_fields, number) | TEXTS)

    assert not re.search(r"\b1 (?!of )(US |active )?[a-z]+s\b(?<! is)", said(1)), said(1)
    for number in (0, 2):
        for noun in re.findall(rf"\b{number} (?!of )(?:US |active )?([a-z]+)", said(number)):
            assert noun.endswith("s"), said(number)


def test_every_template_of_the_design_is_shipped() -> None:
    assert [template.name for template in CATALOG] == [
        "activity_funnel",
        "activity_statistics",
        "customer_journey",
        "error_analysis",
        "health",
        "insights_by_customer",
        "insights_by_metric",
        "insights_by_subject",
        "llm_cost",
        "product_metrics",
        "query_provenance",
        "recent_activities",
        "tool_usage",
        "weekly_cohorts",
    ]


def test_an_operators_folder_adds_templates_and_cannot_shadow_one(tmp_path: Path) -> None:
    shipped = sql_folder("templates")
    written(tmp_path, GOOD.replace('"tool_usage"', '"my_tools"'), "my_tools")
    assert "my_tools" in Catalog.load(shipped, tmp_path)
    path = written(tmp_path, GOOD)
    with pytest.raises(TemplateError, match="has the name tool_usage already") as refused:
        Catalog.load(shipped, tmp_path)
    assert str(refused.value).startswith(str(path))


def test_a_folder_that_is_missing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TemplateError, match="no folder"):
        Catalog.load(tmp_path / "absent")


def test_an_unknown_template_is_answered_with_the_nearest_ones() -> None:
    with pytest.raises(UnknownTemplate, match=r"did you mean tool_usage"):
        CATALOG.get("tool_use")
    with pytest.raises(UnknownTemplate, match="list_templates"):
        CATALOG.get("'; drop table events; --" * 100)


def test_search_finds_every_word_in_name_purpose_tags_or_parameters() -> None:
    assert [template.name for template in CATALOG.search("funnel")] == ["activity_funnel"]
    assert CATALOG.search("Tool USAGE")[0].name == "tool_usage"
    assert [template.name for template in CATALOG.search("tokens cost")] == ["llm_cost"]
    assert CATALOG.search("funnel zebra") == []
    assert len(CATALOG.search("")) == len(CATALOG)


def test_the_catalogue_loads_without_a_sql_parser_or_a_driver() -> None:
    code = (
        "import sys; from pathlib import Path; from cdesk.safesql.catalog import Catalog; "
        f"Catalog.load(Path({str(sql_folder('templates'))!r})); "
        "print([name for name in ('sqlglot', 'duckdb', 'snowflake') if name in sys.modules])"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30
    )
    assert ran.stdout.strip() == "[]"
