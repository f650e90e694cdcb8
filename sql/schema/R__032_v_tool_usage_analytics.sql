-- Calls, failures and latency of each tool, per customer. A call that was recorded at its beginning
-- and at its end counts once.
CREATE OR REPLACE VIEW v_tool_usage_analytics COPY GRANTS AS
SELECT
    customer,
    tool,
    GREATEST(
        COUNT_IF(activity = 'cdesk.tool_called'), COUNT_IF(activity <> 'cdesk.tool_called')
    ) AS usage_count,
    COUNT_IF(activity = 'cdesk.tool_failed' OR (activity = 'cdesk.tool_completed' AND NOT is_ok))
        AS failed_calls,
    COUNT(DISTINCT conversation) AS conversations,
    MEDIAN(latency_ms)::DOUBLE AS median_latency_ms,
    PERCENTILE_CONT(0.95) WITHIN GROUP (ORDER BY latency_ms)::DOUBLE AS p95_latency_ms,
    MAX(ts) AS last_ts
FROM vw_tool_events
GROUP BY customer, tool;
