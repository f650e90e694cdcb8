-- The stream in the ActivitySchema community's spelling, which its dbt packages read: that
-- specification's own names, an activity without a dot, and feature_json with the same keys on every
-- row of an activity: those of its family (python/cdesk/catalogue.py), null where a row has no value,
-- and payload, the whole object as it was recorded. An activity outside the catalogue has payload
-- alone. A customer is known here, so anonymous_customer_id is always NULL.
CREATE OR REPLACE VIEW activity_stream COPY GRANTS AS
SELECT
    _activity_id AS activity_id,
    ts,
    customer,
    NULL::STRING AS anonymous_customer_id,
    REPLACE(activity, 'cdesk.', '') AS activity,
    CASE
        WHEN activity IN (
            'cdesk.user_asked', 'cdesk.user_clarified', 'cdesk.user_cancelled',
            'cdesk.user_rated', 'cdesk.claude_responded', 'cdesk.claude_clarified',
            'cdesk.claude_suggested'
        ) THEN OBJECT_CONSTRUCT_KEEP_NULL(
            'conversation_id', _feature_json:conversation_id,
            'model', _feature_json:model,
            'chars', _feature_json:chars,
            'tokens_in', _feature_json:tokens_in,
            'tokens_out', _feature_json:tokens_out,
            'cost_usd', _feature_json:cost_usd,
            'latency_ms', _feature_json:latency_ms,
            'text', _feature_json:text,
            'payload', _feature_json
        )
        WHEN activity IN (
            'cdesk.sql_executed', 'cdesk.sql_completed', 'cdesk.sql_failed',
            'cdesk.sql_cancelled', 'cdesk.sql_sampled'
        ) THEN OBJECT_CONSTRUCT_KEEP_NULL(
            'ticket_id', _feature_json:ticket_id,
            'template', _feature_json:template,
            'query_hash', _feature_json:query_hash,
            'rows', _feature_json:rows,
            'bytes_scanned', _feature_json:bytes_scanned,
            'duration_ms', _feature_json:duration_ms,
            'sampled', _feature_json:sampled,
            'error', _feature_json:error,
            'payload', _feature_json
        )
        WHEN activity IN (
            'cdesk.tool_called', 'cdesk.tool_completed', 'cdesk.tool_failed'
        ) THEN OBJECT_CONSTRUCT_KEEP_NULL(
            'conversation_id', _feature_json:conversation_id,
            'tool', _feature_json:tool,
            'server', _feature_json:server,
            'latency_ms', _feature_json:latency_ms,
            'ok', _feature_json:ok,
            'error', _feature_json:error,
            'payload', _feature_json
        )
        WHEN activity IN (
            'cdesk.file_read', 'cdesk.file_written', 'cdesk.file_deleted'
        ) THEN OBJECT_CONSTRUCT_KEEP_NULL(
            'conversation_id', _feature_json:conversation_id,
            'name', _feature_json:name,
            'extension', _feature_json:extension,
            'bytes', _feature_json:bytes,
            'payload', _feature_json
        )
        WHEN activity IN (
            'cdesk.session_started', 'cdesk.session_resumed', 'cdesk.session_ended',
            'cdesk.session_expired'
        ) THEN OBJECT_CONSTRUCT_KEEP_NULL(
            'conversation_id', _feature_json:conversation_id,
            'protocol', _feature_json:protocol,
            'client', _feature_json:client,
            'client_version', _feature_json:client_version,
            'messages', _feature_json:messages,
            'payload', _feature_json
        )
        WHEN activity IN (
            'cdesk.insight_recorded', 'cdesk.insight_retrieved', 'cdesk.context_refreshed',
            'cdesk.context_loaded', 'cdesk.artifact_created', 'cdesk.artifact_retrieved',
            'cdesk.card_rendered', 'cdesk.link_generated'
        ) THEN OBJECT_CONSTRUCT_KEEP_NULL(
            'atom_id', _feature_json:atom_id,
            'subject', _feature_json:subject,
            'metric', _feature_json:metric,
            'confidence', _feature_json:confidence,
            'artifact_id', _feature_json:artifact_id,
            'ticket_id', _feature_json:ticket_id,
            'rows', _feature_json:rows,
            'bytes', _feature_json:bytes,
            'version', _feature_json:version,
            'payload', _feature_json
        )
        WHEN activity IN (
            'cdesk.error_encountered', 'cdesk.retry_attempted', 'cdesk.fallback_triggered',
            'cdesk.timeout_occurred', 'cdesk.latency_exceeded', 'cdesk.queue_overflow',
            'cdesk.cache_miss', 'cdesk.credit_warning', 'cdesk.schema_drifted'
        ) THEN OBJECT_CONSTRUCT_KEEP_NULL(
            'error', _feature_json:error,
            'where', _feature_json:where,
            'attempt', _feature_json:attempt,
            'delay_s', _feature_json:delay_s,
            'depth', _feature_json:depth,
            'dropped', _feature_json:dropped,
            'latency_ms', _feature_json:latency_ms,
            'fallback', _feature_json:fallback,
            'payload', _feature_json
        )
        ELSE OBJECT_CONSTRUCT_KEEP_NULL('payload', _feature_json)
    END AS feature_json,
    revenue_impact,
    link,
    activity_occurrence,
    activity_repeated_at
FROM events;
