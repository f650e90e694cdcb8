/*
name = "weekly_cohorts"
version = 2
purpose = "Do conversations come back? Those that began in one week, and how many were active in each week after"
row_cap = 2000
headline = "{cohort_size:conversation|conversations} began in the week of {cohort_week}"
empty = "No conversation that began in this period was active"
tags = ["cohorts", "retention", "conversations"]
chart = { kind = "heatmap", x = "weeks_after", y = "cohort_week" }

[params.weeks]
type = "integer"
min = 1
max = 104
default = 26
description = "how many weeks of beginnings, this week included"

[params.activity]
type = "string"
max_length = 100
optional = true
description = "count only this activity as being active, such as cdesk.user_asked"
*/
WITH moments AS (
  SELECT
    COALESCE(_feature_json:conversation_id::STRING, _session_id) AS conversation,
    activity,
    DATE_TRUNC(week, ts) AS active_week
  FROM events
  WHERE ts <= :as_of
),
begun AS (
  SELECT conversation, MIN(active_week) AS cohort_week
  FROM moments
  WHERE conversation IS NOT NULL
  GROUP BY conversation
),
cohorts AS (
  SELECT cohort_week, COUNT(*) AS cohort_size
  FROM begun
  WHERE cohort_week > DATEADD(day, -7 * :weeks, DATE_TRUNC(week, :as_of))
  GROUP BY cohort_week
),
active AS (
  SELECT DISTINCT conversation, active_week
  FROM moments
  WHERE :activity IS NULL OR activity = :activity
),
counted AS (
  SELECT begun.cohort_week, active.active_week, COUNT(*) AS conversations
  FROM begun
  JOIN active ON active.conversation = begun.conversation
  GROUP BY begun.cohort_week, active.active_week
)
SELECT
  cohorts.cohort_week::DATE AS cohort_week,
  (DATEDIFF(day, cohorts.cohort_week, counted.active_week) / 7)::NUMBER AS weeks_after,
  counted.conversations,
  cohorts.cohort_size,
  ROUND(100 * counted.conversations / cohorts.cohort_size, 1)::DOUBLE AS percent_of_cohort
FROM cohorts
JOIN counted ON counted.cohort_week = cohorts.cohort_week
ORDER BY cohort_week DESC, weeks_after
