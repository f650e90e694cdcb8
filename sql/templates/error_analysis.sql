/*
name = "error_analysis"
version = 1
purpose = "What goes wrong: errors, failures and timeouts by kind and place, the most frequent first"
row_cap = 500
headline = "{rows:kind|kinds} of failure; most frequent is {activity} in {place}, {times:time|times}"
empty = "Nothing failed in this period"
tags = ["errors", "failures", "reliability"]
chart = { kind = "bar", x = "error", y = "times" }

[params.days]
type = "integer"
min = 1
max = 3650
default = 30
description = "days to look back"

[constants]
error_encountered = "cdesk.error_encountered"
tool_failed = "cdesk.tool_failed"
sql_failed = "cdesk.sql_failed"
timeout_occurred = "cdesk.timeout_occurred"
fallback_triggered = "cdesk.fallback_triggered"
schema_drifted = "cdesk.schema_drifted"
unnamed = "(unknown)"
*/
WITH failures AS (
  SELECT
    activity,
    COALESCE(
      _feature_json:where::STRING, _feature_json:tool::STRING, _feature_json:template::STRING,
      :unnamed
    ) AS place,
    COALESCE(_feature_json:error::STRING, :unnamed) AS error,
    COALESCE(_feature_json:conversation_id::STRING, _session_id) AS conversation,
    ts
  FROM events
  WHERE activity IN (
      :error_encountered, :tool_failed, :sql_failed, :timeout_occurred, :fallback_triggered,
      :schema_drifted
    )
    AND ts > DATEADD(day, -:days, :as_of) AND ts <= :as_of
)
SELECT
  activity,
  place,
  error,
  COUNT(*) AS times,
  COUNT(DISTINCT conversation) AS conversations,
  MIN(ts) AS first_ts_utc,
  MAX(ts) AS last_ts_utc
FROM failures
GROUP BY activity, place, error
ORDER BY times DESC, last_ts_utc DESC, activity, place, error
