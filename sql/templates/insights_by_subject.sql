/*
name = "insights_by_subject"
version = 2
purpose = "Everything remembered about one subject, the latest value of each metric first"
row_cap = 1000
headline = "{rows:insight|insights}; the latest is {metric} = {value_text}"
empty = "Nothing is remembered about this subject; ask a question and log what it finds"
tags = ["insights", "memory"]

[params.subject]
type = "string"
description = "what the metrics are of, such as orders or emea"

[params.is_valid_only]
type = "boolean"
default = true
description = "leave out values that have expired"
*/
SELECT
  metric,
  value::STRING AS value_text,
  grain,
  filter_json::STRING AS filter_text,
  confidence,
  ts AS recorded_ts_utc,
  valid_from AS valid_from_utc,
  valid_until AS valid_until_utc,
  provenance_query_hash,
  is_verified,
  artifact_id,
  id AS atom_id
FROM insight_atoms
WHERE LOWER(subject) = LOWER(:subject)
  AND ts <= :as_of
  AND (NOT :is_valid_only OR valid_until IS NULL OR valid_until >= :as_of)
ORDER BY recorded_ts_utc DESC, atom_id DESC
