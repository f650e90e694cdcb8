/*
name = "query_provenance"
version = 1
purpose = "Where a number comes from: the question behind a query hash, and every time it was run"
row_cap = 200
headline = "Hash of {template}, version {template_version}; {rows:run|runs}, the latest {outcome} with {row_count:row|rows}"
empty = "No query of that hash was run here"
tags = ["provenance", "audit"]

[params.query_hash]
type = "string"
min_length = 16
max_length = 16
pattern = "[0-9a-f]{16}"
description = "the 16 hex digits on a card or an insight"
*/
SELECT
  query_audit.query_hash,
  query_audit.template,
  query_audit.template_version,
  provenance.params::STRING AS params_json,
  query_audit.started_at AS started_at_utc,
  query_audit.outcome,
  query_audit.row_count,
  query_audit.bytes_scanned,
  query_audit.duration_ms,
  query_audit.sampled AS is_sampled,
  query_audit.query_tag,
  query_audit.ticket_id,
  provenance.created_by
FROM query_audit
LEFT JOIN provenance ON provenance.query_hash = query_audit.query_hash
WHERE query_audit.query_hash = :query_hash AND query_audit.started_at <= :as_of
ORDER BY started_at_utc DESC, ticket_id
