"""The tables a template may read, and what a template sees of them.

Invariants: every table here has a `customer` column, which the tenant's scope filters by, so a
table without one must never be added; the columns are those of `sql/schema`, in its order. Imports
no SQL parser.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Table:
    """A readable table."""

    columns: tuple[str, ...]
    is_sampled: bool = False
    """Whether a query over its byte cap reads a sample of it: only what grows for ever."""


TABLES: Final[Mapping[str, Table]] = {
    "events": Table(
        (
            "activity", "customer", "ts", "activity_repeated_at", "activity_occurrence", "link",
            "revenue_impact", "_feature_json", "_source_system", "_source_version",
            "_session_id", "_query_tag", "_activity_id", "_accepted_at", "_ingested_at",
        ),
        is_sampled=True,
    ),
    "insight_atoms": Table(
        (
            "id", "ts", "customer", "subject", "metric", "value", "grain", "filter_json",
            "confidence", "artifact_id", "provenance_query_hash", "is_verified", "valid_from",
            "valid_until",
        )
    ),
    "artifacts": Table(
        (
            "artifact_id", "created_ts", "customer", "artifact_type", "sample", "row_count",
            "content_schema", "url", "bytes", "query_hash", "query_tag", "sampled", "expires_at",
            "legal_hold",
        )
    ),
    "provenance": Table(
        (
            "query_hash", "template", "template_version", "sql", "params", "created_at",
            "created_by", "customer",
        )
    ),
    "query_audit": Table(
        (
            "ticket_id", "query_tag", "query_uuid", "query_hash", "customer", "template",
            "template_version", "bytes_estimated", "bytes_scanned", "row_count", "duration_ms",
            "outcome", "sampled", "started_at",
        )
    ),
}  # fmt: skip
"""Readable tables by name."""

VARIANTS: Final = frozenset(
    {"_feature_json", "value", "filter_json", "sample", "content_schema", "params"}
)
"""Columns of the readable tables that hold JSON."""
