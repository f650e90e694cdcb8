-- The product, per customer and day. health_score is 100 when nothing failed and 0 when as much failed
-- as was answered, called or queried.
CREATE OR REPLACE VIEW vw_product_metrics COPY GRANTS AS
WITH daily AS (
    SELECT
        customer,
        day_ts,
        COUNT(*) AS events,
        COUNT(DISTINCT conversation) AS conversations,
        COUNT_IF(activity = 'cdesk.user_asked') AS questions,
        COUNT_IF(activity = 'cdesk.claude_responded') AS answers,
        GREATEST(
            COUNT_IF(activity = 'cdesk.tool_called'),
            COUNT_IF(activity IN ('cdesk.tool_completed', 'cdesk.tool_failed'))
        ) AS tool_calls,
        COUNT_IF(activity = 'cdesk.sql_completed') AS queries,
        COUNT_IF(activity = 'cdesk.insight_recorded') AS insights,
        COUNT_IF(activity IN (
            'cdesk.tool_failed', 'cdesk.sql_failed', 'cdesk.error_encountered',
            'cdesk.timeout_occurred'
        )) AS failures
    FROM vw_events_base
    GROUP BY customer, day_ts
)
SELECT
    customer,
    day_ts,
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
FROM daily;
