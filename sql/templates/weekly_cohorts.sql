/*
name = "weekly_cohorts"
version = 1
purpose = "Do conversations come back? Those that began in one week, and how many were active in each week after"
row_cap = 2000
headline = "{rows} cohort weeks; {conversations} conversations began in the week of {cohort_week}"
empty = "No conversation in this period"
tags = ["cohorts", "retention", "conversations"]
chart = { kind = "heatmap", x = "weeks_after", y = "cohort_week" }

[params.weeks]
type = "integer"
min = 1
max = 104
default = 26
description = "weeks to look back"

[params.activity]
type = "string"
max_length = 100
optional = true
description = "count only this activity as being active, such as cdesk.user_asked"
*/
WITH active AS (
  SELECT DISTINCT
    COALESCE(_feature_json:conversation_id::STRING, _session_id) AS conversation,
    DATE_TRUNC(week, ts) AS active_week
  FROM events
  WHERE ts > DATEADD(day, -7 * :weeks, :as_of) AND ts <= :as_of
    AND (:activity IS NULL OR activity = :activity)
),
begun AS (
  SELECT
    conversation,
    active_week,
    MIN(active_week) OVER (PARTITION BY conversation) AS cohort_week
  FROM active
  WHERE conversation IS NOT NULL
),
counted AS (
  SELECT
    cohort_week,
    (DATEDIFF(day, cohort_week, active_week) / 7)::NUMBER AS weeks_after,
    COUNT(*) AS conversations
  FROM begun
  GROUP BY cohort_week, active_week
)
SELECT
  cohort_week::DATE AS cohort_week,
  weeks_after,
  conversations,
  ROUND(
    100 * conversations
    / FIRST_VALUE(conversations) OVER (PARTITION BY cohort_week ORDER BY weeks_after), 1
  )::DOUBLE AS percent_of_cohort
FROM counted
ORDER BY cohort_week DESC, weeks_after
