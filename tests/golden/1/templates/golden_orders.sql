/*
name = "golden_orders"
version = 3
purpose = "Orders of a region"
row_cap = 7
headline = "{rows:order|orders}; {activity} leads"
empty = "No orders"
tags = ["golden"]
chart = { kind = "bar", x = "activity", y = "events" }

[params.region]
type = "string"
max_length = 20
default = "emea"
description = "of which region"

[params.days]
type = "integer"
min = 1
max = 30
default = 7
description = "days to look back"
*/
SELECT activity, COUNT(*) AS events
FROM events
WHERE _feature_json:region::STRING = :region AND ts > DATEADD(day, -:days, :as_of)
GROUP BY activity
ORDER BY events DESC, activity
