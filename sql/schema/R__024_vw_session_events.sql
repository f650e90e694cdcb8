-- Sessions of MCP clients: when they began and ended.
CREATE OR REPLACE VIEW vw_session_events COPY GRANTS AS
SELECT
    customer,
    ts,
    activity,
    activity_occurrence,
    COALESCE(_feature_json:conversation_id::STRING, _session_id) AS conversation,
    _feature_json:protocol::STRING AS protocol,
    _feature_json:client::STRING AS client,
    _feature_json:client_version::STRING AS client_version,
    TRY_CAST(_feature_json:messages::STRING AS NUMBER) AS messages,
    link,
    _query_tag,
    _activity_id
FROM events
WHERE activity IN (
    'cdesk.session_started', 'cdesk.session_resumed', 'cdesk.session_ended',
    'cdesk.session_expired'
);
