-- How often each activity happened, per customer.
CREATE OR REPLACE VIEW v_activity_stats COPY GRANTS AS
SELECT
    customer,
    activity,
    COUNT(*) AS events,
    COUNT(DISTINCT conversation) AS conversations,
    COUNT(DISTINCT day_ts) AS active_days,
    MIN(ts) AS first_ts,
    MAX(ts) AS last_ts,
    AVG(seconds_until_repeated)::DOUBLE AS avg_seconds_until_repeated,
    SUM(revenue_impact) AS revenue_impact_usd
FROM vw_events_base
GROUP BY customer, activity;
