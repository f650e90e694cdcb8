-- How long events take to become queryable once they were accepted, per customer and hour of
-- ingestion. Imported history counts from its import; an event without a known acceptance does not count.
CREATE OR REPLACE VIEW v_stream_lag COPY GRANTS AS
SELECT
    customer,
    DATE_TRUNC('hour', _ingested_at)::TIMESTAMP_NTZ AS ingested_hour_ts,
    COUNT(*) AS events,
    MAX(ts) AS last_ts,
    MAX(_ingested_at) AS last_ingested_at,
    MEDIAN(seconds_until_ingested)::DOUBLE AS median_lag_s,
    PERCENTILE_CONT(0.95) WITHIN GROUP (ORDER BY seconds_until_ingested)::DOUBLE AS p95_lag_s
FROM vw_events_base
WHERE seconds_until_ingested IS NOT NULL
GROUP BY customer, DATE_TRUNC('hour', _ingested_at)::TIMESTAMP_NTZ;
