-- Questions and answers with their tokens and cost.
-- A line with a value of the wrong type is not here: it went to quarantine.
CREATE OR REPLACE VIEW vw_llm_events COPY GRANTS AS
SELECT
    customer,
    ts,
    activity,
    activity_occurrence,
    COALESCE(_feature_json:conversation_id::STRING, _session_id) AS conversation,
    _feature_json:model::STRING AS model,
    TRY_CAST(_feature_json:chars::STRING AS NUMBER) AS chars,
    TRY_CAST(_feature_json:tokens_in::STRING AS NUMBER) AS tokens_in,
    TRY_CAST(_feature_json:tokens_out::STRING AS NUMBER) AS tokens_out,
    TRY_CAST(_feature_json:cost_usd::STRING AS DOUBLE) AS cost_usd,
    TRY_CAST(_feature_json:latency_ms::STRING AS DOUBLE) AS latency_ms,
    link,
    _query_tag,
    _activity_id
FROM events
WHERE activity IN (
    'cdesk.user_asked', 'cdesk.user_clarified', 'cdesk.user_cancelled',
    'cdesk.user_rated', 'cdesk.claude_responded', 'cdesk.claude_clarified',
    'cdesk.claude_suggested'
);
