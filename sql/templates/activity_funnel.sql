/*
name = "activity_funnel"
version = 2
purpose = "How many conversations go from one activity to the next, in order; two to five steps"
row_cap = 5
headline = "{conversations:conversation enters|conversations enter} with {activity}; {last_percent} % reach the last step"
empty = "No conversation entered the funnel in this period"
tags = ["funnel", "conversations"]
chart = { kind = "funnel", x = "activity", y = "conversations" }

[params.step_1]
type = "string"
max_length = 100
default = "cdesk.user_asked"
description = "first activity"

[params.step_2]
type = "string"
max_length = 100
default = "cdesk.claude_responded"
description = "second activity, at or after the first; the same one again is a second event"

[params.step_3]
type = "string"
max_length = 100
optional = true
description = "third activity"

[params.step_4]
type = "string"
max_length = 100
optional = true
description = "fourth activity; a step that is left out is no step"

[params.step_5]
type = "string"
max_length = 100
optional = true
description = "fifth activity"

[params.days]
type = "integer"
min = 1
max = 3650
default = 30
description = "days to look back"
*/
WITH moments AS (
  SELECT
    conversation,
    activity,
    ROW_NUMBER() OVER (
      PARTITION BY conversation
      ORDER BY
        ts,
        CASE activity
          WHEN :step_1 THEN 1 WHEN :step_2 THEN 2 WHEN :step_3 THEN 3 WHEN :step_4 THEN 4 ELSE 5
        END,
        activity_id
    ) AS place
  FROM (
    SELECT
      COALESCE(_feature_json:conversation_id::STRING, _session_id) AS conversation,
      activity,
      ts,
      _activity_id AS activity_id
    FROM events
    WHERE ts > DATEADD(day, -:days, :as_of) AND ts <= :as_of
      AND activity IN (:step_1, :step_2, :step_3, :step_4, :step_5)
  ) AS told
  WHERE conversation IS NOT NULL
),
one AS (
  SELECT conversation, MIN(place) AS place
  FROM moments
  WHERE activity = :step_1
  GROUP BY conversation
),
two AS (
  SELECT one.conversation, MIN(moments.place) AS place
  FROM one
  JOIN moments ON moments.conversation = one.conversation AND moments.place > one.place
  WHERE moments.activity = :step_2
  GROUP BY one.conversation
),
three AS (
  SELECT two.conversation, MIN(moments.place) AS place
  FROM two
  JOIN moments ON moments.conversation = two.conversation AND moments.place > two.place
  WHERE moments.activity = :step_3
  GROUP BY two.conversation
  UNION ALL
  SELECT conversation, place FROM two WHERE :step_3 IS NULL
),
four AS (
  SELECT three.conversation, MIN(moments.place) AS place
  FROM three
  JOIN moments ON moments.conversation = three.conversation AND moments.place > three.place
  WHERE moments.activity = :step_4
  GROUP BY three.conversation
  UNION ALL
  SELECT conversation, place FROM three WHERE :step_4 IS NULL
),
five AS (
  SELECT four.conversation, MIN(moments.place) AS place
  FROM four
  JOIN moments ON moments.conversation = four.conversation AND moments.place > four.place
  WHERE moments.activity = :step_5
  GROUP BY four.conversation
  UNION ALL
  SELECT conversation, place FROM four WHERE :step_5 IS NULL
),
steps AS (
  SELECT 1 AS step, :step_1 AS activity, COUNT(*) AS conversations FROM one
  UNION ALL
  SELECT 2 AS step, :step_2 AS activity, COUNT(*) AS conversations FROM two
  UNION ALL
  SELECT 3 AS step, :step_3 AS activity, COUNT(*) AS conversations FROM three
  UNION ALL
  SELECT 4 AS step, :step_4 AS activity, COUNT(*) AS conversations FROM four
  UNION ALL
  SELECT 5 AS step, :step_5 AS activity, COUNT(*) AS conversations FROM five
),
named AS (
  SELECT ROW_NUMBER() OVER (ORDER BY step) AS step, activity, conversations
  FROM steps
  WHERE activity IS NOT NULL AND EXISTS (SELECT conversation FROM one)
)
SELECT
  step,
  activity,
  conversations,
  ROUND(100 * conversations / NULLIF(FIRST_VALUE(conversations) OVER (ORDER BY step), 0), 1)::DOUBLE
    AS percent_of_first,
  ROUND(100 * conversations / NULLIF(LAG(conversations) OVER (ORDER BY step), 0), 1)::DOUBLE
    AS percent_of_previous,
  ROUND(
    100 * MIN(conversations) OVER ()
    / NULLIF(MAX(conversations) OVER (), 0), 1
  )::DOUBLE AS last_percent
FROM named
ORDER BY step
