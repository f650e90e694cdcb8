-- Memory and artifacts: insights, contexts, cards and links.
CREATE OR REPLACE VIEW vw_mcp_events COPY GRANTS AS
SELECT
    customer,
    ts,
    activity,
    activity_occurrence,
    COALESCE(_feature_json:conversation_id::STRING, _session_id) AS conversation,
    _feature_json:atom_id::STRING AS atom_id,
    _feature_json:subject::STRING AS subject,
    _feature_json:metric::STRING AS metric,
    TRY_CAST(_feature_json:confidence::STRING AS DOUBLE) AS confidence,
    _feature_json:artifact_id::STRING AS artifact_id,
    _feature_json:ticket_id::STRING AS ticket_id,
    TRY_CAST(_feature_json:rows::STRING AS NUMBER) AS row_count,
    TRY_CAST(_feature_json:bytes::STRING AS NUMBER) AS bytes,
    TRY_CAST(_feature_json:version::STRING AS NUMBER) AS version,
    link,
    _query_tag,
    _activity_id
FROM events
WHERE activity IN (
    'cdesk.insight_recorded', 'cdesk.insight_retrieved', 'cdesk.context_refreshed',
    'cdesk.context_loaded', 'cdesk.artifact_created', 'cdesk.artifact_retrieved',
    'cdesk.card_rendered', 'cdesk.link_generated'
);
