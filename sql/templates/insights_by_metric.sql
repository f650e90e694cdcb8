/*
name = "insights_by_metric"
version = 2
purpose = "How one metric of one subject changed: every remembered value, newest first"
row_cap = 1000
headline = "{rows:value|values}; the latest is {value_text}, recorded {recorded_ts_utc} UTC"
empty = "Nothing is remembered about this metric; ask a question and log what it finds"
tags = ["insights", "memory", "trend"]
chart = { kind = "line", x = "recorded_ts_utc", y = "value_number" }

[params.subject]
type = "string"
description = "what the metric is of, such as orders or emea"

[params.metric]
type = "string"
description = "which metric, such as revenue_usd"

[params.grain]
type = "string"
optional = true
description = "only values of this time grain, such as day or quarter"
*/
SELECT
  ts AS recorded_ts_utc,
  value::STRING AS value_text,
  TRY_CAST(value::STRING AS DOUBLE) AS value_number,
  grain,
  filter_json::STRING AS filter_text,
  confidence,
  valid_from AS valid_from_utc,
  valid_until AS valid_until_utc,
  provenance_query_hash,
  is_verified,
  id AS atom_id
FROM insight_atoms
WHERE LOWER(subject) = LOWER(:subject)
  AND LOWER(metric) = LOWER(:metric)
  AND (:grain IS NULL OR grain = :grain)
  AND ts <= :as_of
ORDER BY recorded_ts_utc DESC, atom_id DESC
