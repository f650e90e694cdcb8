/*
name = "tool_usage"
version = 1
purpose = "Which tools are used, how often they fail and how long they take"
row_cap = 500
headline = "{rows:tool|tools} in use; {tool} leads with {calls:call|calls}; {failed_percent} % of those that ended failed"
empty = "No tool was used in this period"
tags = ["tools", "latency", "errors"]
chart = { kind = "bar", x = "tool", y = "calls" }

[params.days]
type = "integer"
min = 1
max = 3650
default = 30
description = "days to look back"

[params.tool]
type = "string"
optional = true
description = "only this tool"

[constants]
called = "cdesk.tool_called"
completed = "cdesk.tool_completed"
failed = "cdesk.tool_failed"
unnamed = "(unnamed)"
*/
WITH used AS (
  SELECT
    COALESCE(_feature_json:tool::STRING, :unnamed) AS tool,
    activity,
    TRY_CAST(_feature_json:latency_ms::STRING AS DOUBLE) AS latency_ms,
    TRY_CAST(_feature_json:ok::STRING AS BOOLEAN) AS is_ok,
    ts
  FROM events
  WHERE activity IN (:called, :completed, :failed)
    AND ts > DATEADD(day, -:days, :as_of) AND ts <= :as_of
),
counted AS (
  SELECT
    tool,
    COUNT_IF(activity = :called) AS begun,
    COUNT_IF(activity <> :called) AS ended,
    COUNT_IF(activity = :failed OR (activity = :completed AND NOT is_ok)) AS failed_calls,
    ROUND(MEDIAN(latency_ms), 1)::DOUBLE AS median_latency_ms,
    ROUND(PERCENTILE_CONT(0.95) WITHIN GROUP (ORDER BY latency_ms), 1)::DOUBLE AS p95_latency_ms,
    MAX(ts) AS last_ts_utc
  FROM used
  WHERE :tool IS NULL OR tool = :tool
  GROUP BY tool
)
SELECT
  tool,
  GREATEST(begun, ended) AS calls,
  failed_calls,
  ROUND(100 * failed_calls / NULLIF(ended, 0), 1)::DOUBLE AS failed_percent,
  median_latency_ms,
  p95_latency_ms,
  last_ts_utc
FROM counted
ORDER BY calls DESC, tool
