/*
name = "llm_cost"
version = 2
purpose = "What the model's answers cost: tokens and US dollars by day or week and model"
row_cap = 2000
headline = "{total_cost_usd:US dollar|US dollars}, known of {total_priced} of {total_responses:answer|answers}; latest: {model} in the {period} of {period_start}"
empty = "No answer of the model in this period"
tags = ["llm", "tokens", "cost"]
chart = { kind = "line", x = "period_start", y = "cost_usd" }

[params.days]
type = "integer"
min = 1
max = 3650
default = 30
description = "days to look back"

[params.period]
type = "enum"
values = ["day", "week", "month"]
default = "day"
description = "what to sum up by"

[constants]
responded = "cdesk.claude_responded"
week = "week"
month = "month"
unnamed = "(unknown)"
*/
WITH answers AS (
  SELECT
    CASE :period
      WHEN :week THEN DATE_TRUNC(week, ts)
      WHEN :month THEN DATE_TRUNC(month, ts)
      ELSE DATE_TRUNC(day, ts)
    END AS period_ts,
    COALESCE(_feature_json:model::STRING, :unnamed) AS model,
    TRY_CAST(_feature_json:tokens_in::STRING AS NUMBER) AS tokens_in,
    TRY_CAST(_feature_json:tokens_out::STRING AS NUMBER) AS tokens_out,
    TRY_CAST(_feature_json:chars::STRING AS NUMBER) AS chars,
    TRY_CAST(_feature_json:cost_usd::STRING AS DOUBLE) AS cost_usd
  FROM events
  WHERE activity = :responded
    AND ts > DATEADD(day, -:days, :as_of) AND ts <= :as_of
),
summed AS (
  SELECT
    period_ts,
    model,
    COUNT(*) AS responses,
    SUM(tokens_in)::NUMBER AS sum_tokens_in,
    SUM(tokens_out)::NUMBER AS sum_tokens_out,
    SUM(chars)::NUMBER AS sum_chars,
    SUM(cost_usd) AS sum_cost_usd,
    COUNT(cost_usd) AS priced_responses
  FROM answers
  GROUP BY period_ts, model
)
SELECT
  period_ts::DATE AS period_start,
  :period AS period,
  model,
  responses,
  sum_tokens_in AS tokens_in,
  sum_tokens_out AS tokens_out,
  sum_chars AS chars,
  ROUND(sum_cost_usd, 4)::DOUBLE AS cost_usd,
  ROUND(SUM(sum_cost_usd) OVER (), 2)::DOUBLE AS total_cost_usd,
  (SUM(priced_responses) OVER ())::NUMBER AS total_priced,
  (SUM(responses) OVER ())::NUMBER AS total_responses
FROM summed
ORDER BY period_start DESC, responses DESC, model
