/*
name = "insights_by_customer"
version = 2
purpose = "All that is remembered: the latest valid value of every subject, metric, grain and filter"
row_cap = 2000
headline = "{rows:value is|values are} remembered; the latest is {metric} of {subject} = {value_text}"
empty = "Nothing is remembered yet; ask a question and log what it finds"
tags = ["insights", "memory"]

[params.min_confidence]
type = "number"
min = 0
max = 1
default = 0
description = "leave out values with less confidence; values without one count as sure"
*/
SELECT
  subject,
  metric,
  value::STRING AS value_text,
  grain,
  filter_json::STRING AS filter_text,
  confidence,
  ts AS recorded_ts_utc,
  valid_until AS valid_until_utc,
  provenance_query_hash,
  is_verified,
  id AS atom_id
FROM insight_atoms
WHERE ts <= :as_of
  AND (valid_until IS NULL OR valid_until >= :as_of)
  AND COALESCE(confidence, 1) >= :min_confidence
QUALIFY ROW_NUMBER() OVER (PARTITION BY subject, metric, grain, filter_json::STRING ORDER BY ts DESC, id DESC) = 1
ORDER BY recorded_ts_utc DESC, atom_id DESC
