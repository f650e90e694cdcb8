/*
name = "product_metrics"
version = 1
purpose = "Day by day: questions, answers, tool calls, queries, insights, failures and a health score from 0 to 100"
row_cap = 3650
headline = "{rows:active day|active days}; {day_utc} had {questions:question|questions} and a health score of {health_score}"
empty = "No activity in this period"
tags = ["metrics", "health", "daily"]
chart = { kind = "line", x = "day_utc", y = "questions" }

[params.days]
type = "integer"
min = 1
max = 3650
default = 30
description = "days to look back"

[constants]
asked = "cdesk.user_asked"
responded = "cdesk.claude_responded"
tool_called = "cdesk.tool_called"
tool_completed = "cdesk.tool_completed"
tool_failed = "cdesk.tool_failed"
sql_completed = "cdesk.sql_completed"
sql_failed = "cdesk.sql_failed"
insight_recorded = "cdesk.insight_recorded"
error_encountered = "cdesk.error_encountered"
timeout_occurred = "cdesk.timeout_occurred"
*/
WITH daily AS (
  SELECT
    DATE_TRUNC(day, ts) AS day_ts,
    COUNT(*) AS events,
    COUNT(DISTINCT COALESCE(_feature_json:conversation_id::STRING, _session_id)) AS conversations,
    COUNT_IF(activity = :asked) AS questions,
    COUNT_IF(activity = :responded) AS answers,
    GREATEST(
      COUNT_IF(activity = :tool_called), COUNT_IF(activity IN (:tool_completed, :tool_failed))
    ) AS tool_calls,
    COUNT_IF(activity = :sql_completed) AS queries,
    COUNT_IF(activity = :insight_recorded) AS insights,
    COUNT_IF(activity IN (:tool_failed, :sql_failed, :error_encountered, :timeout_occurred))
      AS failures
  FROM events
  WHERE ts > DATEADD(day, -:days, :as_of) AND ts <= :as_of
  GROUP BY DATE_TRUNC(day, ts)
)
SELECT
  day_ts::DATE AS day_utc,
  events,
  conversations,
  questions,
  answers,
  tool_calls,
  queries,
  insights,
  failures,
  ROUND(
    100 * (1 - LEAST(1, failures / GREATEST(1, answers + tool_calls + queries))), 1
  )::DOUBLE AS health_score
FROM daily
ORDER BY day_utc DESC
