-- Errors and operations: what went wrong, and what the system did about it. event_type is the
-- activity's name; a full queue is called by its usual name, backpressure.
CREATE OR REPLACE VIEW vw_system_events COPY GRANTS AS
SELECT
    customer,
    ts,
    activity,
    CASE activity
        WHEN 'cdesk.queue_overflow' THEN 'backpressure'
        ELSE REPLACE(activity, 'cdesk.', '')
    END AS event_type,
    activity_occurrence,
    COALESCE(_feature_json:conversation_id::STRING, _session_id) AS conversation,
    _feature_json:error::STRING AS error,
    _feature_json:where::STRING AS place,
    TRY_CAST(_feature_json:attempt::STRING AS NUMBER) AS attempt,
    TRY_CAST(_feature_json:delay_s::STRING AS DOUBLE) AS delay_s,
    TRY_CAST(_feature_json:depth::STRING AS NUMBER) AS depth,
    TRY_CAST(_feature_json:dropped::STRING AS NUMBER) AS dropped,
    TRY_CAST(_feature_json:latency_ms::STRING AS DOUBLE) AS latency_ms,
    _feature_json:fallback::STRING AS fallback,
    link,
    _query_tag,
    _activity_id
FROM events
WHERE activity IN (
    'cdesk.error_encountered', 'cdesk.retry_attempted', 'cdesk.fallback_triggered',
    'cdesk.timeout_occurred', 'cdesk.latency_exceeded', 'cdesk.queue_overflow',
    'cdesk.cache_miss', 'cdesk.credit_warning', 'cdesk.schema_drifted'
);
