-- The base stream as people read it: the specification's columns, the parts of the name, the conversation.
-- seconds_until_ingested is from acceptance to storage, whenever the event happened; NULL where nobody
-- noted its acceptance, and never negative, though a clock may have stepped back in between.
CREATE OR REPLACE VIEW vw_events_base COPY GRANTS AS
SELECT
    activity,
    customer,
    ts,
    activity_repeated_at,
    activity_occurrence,
    link,
    revenue_impact,
    _feature_json,
    REPLACE(activity, 'cdesk.', '') AS activity_name,
    COALESCE(_feature_json:conversation_id::STRING, _session_id) AS conversation,
    DATE_TRUNC('day', ts)::TIMESTAMP_NTZ AS day_ts,
    DATEDIFF(second, ts, activity_repeated_at) AS seconds_until_repeated,
    CASE
        WHEN _accepted_at > _ingested_at THEN 0
        ELSE DATEDIFF(millisecond, _accepted_at, _ingested_at) / 1000
    END::DOUBLE AS seconds_until_ingested,
    _source_system,
    _source_version,
    _session_id,
    _query_tag,
    _activity_id,
    _accepted_at,
    _ingested_at
FROM events;
