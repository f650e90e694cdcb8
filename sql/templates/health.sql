/*
name = "health"
version = 3
purpose = "Is the desk itself well: events and delay of the stream, queries, failures and what is remembered"
row_cap = 1
headline = "{events:event|events} and {errors:error|errors}; {failed_queries} of {queries:query|queries} failed; {valid_insights:insight|insights} remembered"
empty = "Nothing has been recorded yet"
tags = ["health", "operations", "lag"]

[params.hours]
type = "integer"
min = 1
max = 8760
default = 24
description = "hours to look back"

[constants]
failed = "failed"
error_encountered = "cdesk.error_encountered"
timeout_occurred = "cdesk.timeout_occurred"
tool_failed = "cdesk.tool_failed"
queue_overflow = "cdesk.queue_overflow"
schema_drifted = "cdesk.schema_drifted"
*/
WITH stream AS (
  SELECT
    COUNT(*) AS events,
    MAX(ts) AS last_ts,
    ROUND(
      PERCENTILE_CONT(0.95) WITHIN GROUP (
        ORDER BY
          CASE
            WHEN _accepted_at > _ingested_at THEN 0
            ELSE DATEDIFF(millisecond, _accepted_at, _ingested_at) / 1000
          END
      ), 1
    )::DOUBLE AS p95_delay_s,
    COUNT_IF(activity IN (:error_encountered, :timeout_occurred, :tool_failed)) AS errors,
    COUNT_IF(activity = :queue_overflow) AS queue_overflows,
    COUNT_IF(activity = :schema_drifted) AS schema_drifts
  FROM events
  WHERE ts > DATEADD(hour, -:hours, :as_of) AND ts <= :as_of
),
asked AS (
  SELECT
    COUNT(*) AS queries,
    COUNT_IF(outcome = :failed) AS failed_queries,
    COUNT_IF(sampled) AS sampled_queries,
    ROUND(PERCENTILE_CONT(0.95) WITHIN GROUP (ORDER BY duration_ms), 1)::DOUBLE AS p95_query_ms,
    COALESCE(SUM(bytes_scanned), 0)::NUMBER AS bytes_scanned
  FROM query_audit
  WHERE started_at > DATEADD(hour, -:hours, :as_of) AND started_at <= :as_of
),
remembered AS (
  SELECT
    COUNT(*) AS valid_insights,
    COUNT_IF(is_verified) AS insights_with_provenance
  FROM insight_atoms
  WHERE ts <= :as_of AND (valid_until IS NULL OR valid_until >= :as_of)
)
SELECT
  stream.events,
  stream.last_ts AS last_ts_utc,
  DATEDIFF(minute, stream.last_ts, :as_of) AS minutes_since_last,
  stream.p95_delay_s,
  stream.errors,
  stream.queue_overflows,
  stream.schema_drifts,
  asked.queries,
  asked.failed_queries,
  asked.sampled_queries,
  asked.p95_query_ms,
  asked.bytes_scanned,
  remembered.valid_insights,
  remembered.insights_with_provenance
FROM stream
CROSS JOIN asked
CROSS JOIN remembered
