-- Tool calls with how long they took and how they ended.
CREATE OR REPLACE VIEW vw_tool_events COPY GRANTS AS
SELECT
    customer,
    ts,
    activity,
    activity_occurrence,
    COALESCE(_feature_json:conversation_id::STRING, _session_id) AS conversation,
    _feature_json:tool::STRING AS tool,
    _feature_json:server::STRING AS server,
    TRY_CAST(_feature_json:latency_ms::STRING AS DOUBLE) AS latency_ms,
    TRY_CAST(_feature_json:ok::STRING AS BOOLEAN) AS is_ok,
    _feature_json:error::STRING AS error,
    link,
    _query_tag,
    _activity_id
FROM events
WHERE activity IN (
    'cdesk.tool_called', 'cdesk.tool_completed', 'cdesk.tool_failed'
);
