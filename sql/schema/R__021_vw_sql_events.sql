-- Queries as the stream saw them, joined by tag and customer to the audit, which every engine has.
CREATE OR REPLACE VIEW vw_sql_events COPY GRANTS AS
SELECT
    e.customer,
    e.ts,
    e.activity,
    e.activity_occurrence,
    COALESCE(e._feature_json:conversation_id::STRING, e._session_id) AS conversation,
    COALESCE(a.ticket_id, e._feature_json:ticket_id::STRING) AS ticket_id,
    COALESCE(a.template, e._feature_json:template::STRING) AS template,
    COALESCE(a.query_hash, e._feature_json:query_hash::STRING) AS query_hash,
    COALESCE(a.row_count, TRY_CAST(e._feature_json:rows::STRING AS NUMBER)) AS row_count,
    COALESCE(a.duration_ms, TRY_CAST(e._feature_json:duration_ms::STRING AS DOUBLE)) AS duration_ms,
    a.bytes_estimated,
    COALESCE(a.bytes_scanned, TRY_CAST(e._feature_json:bytes_scanned::STRING AS NUMBER))
        AS bytes_scanned,
    COALESCE(a.sampled, TRY_CAST(e._feature_json:sampled::STRING AS BOOLEAN)) AS is_sampled,
    a.outcome,
    e._feature_json:error::STRING AS error,
    e.link,
    e._query_tag,
    e._activity_id
FROM events AS e
LEFT JOIN query_audit AS a ON a.query_tag = e._query_tag AND a.customer = e.customer
WHERE e.activity IN (
    'cdesk.sql_executed', 'cdesk.sql_completed', 'cdesk.sql_failed',
    'cdesk.sql_cancelled', 'cdesk.sql_sampled'
);
