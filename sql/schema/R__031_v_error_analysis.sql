-- What goes wrong, per customer, day, activity, place and error.
CREATE OR REPLACE VIEW v_error_analysis COPY GRANTS AS
SELECT
    customer,
    day_ts,
    activity,
    COALESCE(
        _feature_json:where::STRING, _feature_json:tool::STRING, _feature_json:template::STRING
    ) AS place,
    _feature_json:error::STRING AS error,
    COUNT(*) AS times,
    COUNT(DISTINCT conversation) AS conversations,
    MAX(ts) AS last_ts
FROM vw_events_base
WHERE activity IN (
    'cdesk.error_encountered', 'cdesk.tool_failed', 'cdesk.sql_failed',
    'cdesk.timeout_occurred', 'cdesk.fallback_triggered', 'cdesk.schema_drifted'
)
GROUP BY
    customer,
    day_ts,
    activity,
    COALESCE(
        _feature_json:where::STRING, _feature_json:tool::STRING, _feature_json:template::STRING
    ),
    _feature_json:error::STRING;
