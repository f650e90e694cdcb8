/*
name = "customer_journey"
version = 2
purpose = "What happens next: after each activity of a conversation, which activity follows, how often and how soon"
row_cap = 500
headline = "{rows:kind|kinds} of step; most often {next_activity} follows {activity}, {times:time|times}"
empty = "No step from one activity to the next in this period"
tags = ["journey", "next activity", "conversations"]
chart = { kind = "bar", x = "next_activity", y = "times" }

[params.activity]
type = "string"
max_length = 100
optional = true
description = "only what follows this activity, such as cdesk.user_asked"

[params.days]
type = "integer"
min = 1
max = 3650
default = 30
description = "days to look back"

[params.min_times]
type = "integer"
min = 1
max = 1000000
default = 1
description = "leave out steps that are rarer"
*/
WITH moments AS (
  SELECT
    COALESCE(_feature_json:conversation_id::STRING, _session_id) AS conversation,
    activity,
    ts,
    _activity_id
  FROM events
  WHERE ts > DATEADD(day, -:days, :as_of) AND ts <= :as_of
),
steps AS (
  SELECT
    activity,
    LEAD(activity) OVER (PARTITION BY conversation ORDER BY ts, _activity_id) AS next_activity,
    DATEDIFF(
      millisecond, ts, LEAD(ts) OVER (PARTITION BY conversation ORDER BY ts, _activity_id)
    ) / 1000 AS seconds_until
  FROM moments
  WHERE conversation IS NOT NULL
),
counted AS (
  SELECT
    activity,
    next_activity,
    COUNT(*) AS times,
    MEDIAN(seconds_until)::DOUBLE AS median_seconds_until
  FROM steps
  WHERE next_activity IS NOT NULL AND (:activity IS NULL OR activity = :activity)
  GROUP BY activity, next_activity
),
shares AS (
  SELECT
    activity,
    next_activity,
    times,
    ROUND(100 * times / SUM(times) OVER (PARTITION BY activity), 1)::DOUBLE AS percent_of_activity,
    median_seconds_until
  FROM counted
)
SELECT
  activity,
  next_activity,
  times,
  percent_of_activity,
  median_seconds_until
FROM shares
WHERE times >= :min_times
ORDER BY times DESC, activity, next_activity
