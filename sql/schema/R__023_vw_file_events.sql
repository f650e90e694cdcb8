-- Files that were read, written or deleted.
CREATE OR REPLACE VIEW vw_file_events COPY GRANTS AS
SELECT
    customer,
    ts,
    activity,
    activity_occurrence,
    COALESCE(_feature_json:conversation_id::STRING, _session_id) AS conversation,
    _feature_json:name::STRING AS name,
    _feature_json:extension::STRING AS extension,
    TRY_CAST(_feature_json:bytes::STRING AS NUMBER) AS bytes,
    link,
    _query_tag,
    _activity_id
FROM events
WHERE activity IN (
    'cdesk.file_read', 'cdesk.file_written', 'cdesk.file_deleted'
);
