/*
name = "activity_statistics"
version = 1
purpose = "How often each activity happened, in how many conversations, and when it was first and last seen"
row_cap = 500
headline = "{rows:kind|kinds} of activity; {activity} leads with {events:event|events}"
empty = "No activity in this period"
tags = ["stream", "counts"]
chart = { kind = "bar", x = "activity", y = "events" }

[params.days]
type = "integer"
min = 1
max = 3650
default = 30
description = "days to look back"
*/
SELECT
  activity,
  COUNT(*) AS events,
  COUNT(DISTINCT COALESCE(_feature_json:conversation_id::STRING, _session_id)) AS conversations,
  COUNT(DISTINCT DATE_TRUNC(day, ts)) AS active_days,
  MIN(ts) AS first_ts_utc,
  MAX(ts) AS last_ts_utc,
  SUM(revenue_impact) AS revenue_impact_usd
FROM events
WHERE ts > DATEADD(day, -:days, :as_of) AND ts <= :as_of
GROUP BY activity
ORDER BY events DESC, activity
