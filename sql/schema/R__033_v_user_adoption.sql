-- How much the desk is used, per customer and day.
CREATE OR REPLACE VIEW v_user_adoption COPY GRANTS AS
SELECT
    customer,
    day_ts::DATE AS activity_date,
    DATE_TRUNC('week', day_ts)::TIMESTAMP_NTZ AS week_ts,
    COUNT(DISTINCT conversation) AS conversations,
    COUNT(DISTINCT _session_id) AS sessions,
    COUNT_IF(activity = 'cdesk.user_asked') AS questions,
    COUNT_IF(activity = 'cdesk.insight_recorded') AS insights,
    COUNT_IF(activity = 'cdesk.card_rendered') AS cards
FROM vw_events_base
GROUP BY customer, day_ts;
