/*
name = "recent_activities"
version = 1
purpose = "The latest things that happened, newest first"
row_cap = 1000
headline = "{rows:activity|activities}, the latest {activity} at {ts_utc} UTC"
empty = "Nothing has been recorded yet"
tags = ["stream", "history"]

[params.limit]
type = "integer"
min = 1
max = 1000
default = 50
description = "how many to show"

[params.activity]
type = "string"
max_length = 100
optional = true
description = "only this activity, such as cdesk.user_asked"
*/
SELECT
  ts AS ts_utc,
  activity,
  activity_occurrence,
  COALESCE(_feature_json:conversation_id::STRING, _session_id) AS conversation,
  link,
  revenue_impact AS revenue_impact_usd,
  _activity_id AS activity_id
FROM events
WHERE ts <= :as_of
  AND (:activity IS NULL OR activity = :activity)
QUALIFY ROW_NUMBER() OVER (ORDER BY ts DESC, _activity_id DESC) <= :limit
ORDER BY ts_utc DESC, activity_id DESC
