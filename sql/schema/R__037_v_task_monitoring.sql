-- What the desk does by itself, per customer and task, over the seven days up to the task's last run:
-- ingestion (a run is a batch with rows of the customer, a failure a line of theirs that went to
-- quarantine, the duration the batch's longest time from acceptance to storage), context (its last
-- refresh, a failure when it lacks an insight that is stored), and query: and a template's name (a run
-- is an answered or a failed question; a cancelled one is none).
-- health_status: failing when the last run failed, degraded when another one failed or the 95th
-- percentile of the durations is over the service level (5 s of ingestion, 8 s of a query), else healthy.
CREATE OR REPLACE VIEW v_task_monitoring COPY GRANTS AS
WITH runs AS (
    SELECT
        customer,
        'ingestion' AS task,
        _ingested_at AS run_ts,
        FALSE AS is_failed,
        1000 * MAX(seconds_until_ingested) AS duration_ms,
        5000 AS service_level_ms
    FROM vw_events_base
    WHERE _ingested_at IS NOT NULL
    GROUP BY customer, _ingested_at
    UNION ALL
    SELECT customer, 'ingestion', quarantined_at, TRUE, NULL, 5000
    FROM _quarantine
    WHERE customer IS NOT NULL
    UNION ALL
    SELECT
        c.customer,
        'context',
        c.updated_at,
        COUNT(e._activity_id) > 0,
        NULL,
        NULL
    FROM context_cache AS c
    LEFT JOIN events AS e
        ON e.customer = c.customer
        AND e.activity = 'cdesk.insight_recorded'
        AND e._ingested_at > c.updated_at
    GROUP BY c.customer, c.updated_at
    UNION ALL
    SELECT
        customer,
        CONCAT('query: ', template),
        ts,
        activity = 'cdesk.sql_failed',
        duration_ms,
        8000
    FROM vw_sql_events
    WHERE activity IN ('cdesk.sql_completed', 'cdesk.sql_failed') AND template IS NOT NULL
),
latest AS (
    SELECT customer, task, MAX(run_ts) AS last_run_ts
    FROM runs
    GROUP BY customer, task
),
counted AS (
    SELECT
        r.customer,
        r.task,
        COUNT(*) AS runs,
        COUNT_IF(r.is_failed) AS failed_runs,
        PERCENTILE_CONT(0.95) WITHIN GROUP (ORDER BY r.duration_ms)::DOUBLE AS p95_duration_ms,
        MAX(r.service_level_ms) AS service_level_ms,
        l.last_run_ts,
        COUNT_IF(r.is_failed AND r.run_ts = l.last_run_ts) > 0 AS is_last_run_failed
    FROM runs AS r
    JOIN latest AS l ON l.customer = r.customer AND l.task = r.task
    WHERE r.run_ts > DATEADD(day, -7, l.last_run_ts)
    GROUP BY r.customer, r.task, l.last_run_ts
)
SELECT
    customer,
    task,
    runs,
    failed_runs,
    p95_duration_ms,
    last_run_ts,
    CASE
        WHEN is_last_run_failed THEN 'failing'
        WHEN failed_runs > 0 OR p95_duration_ms > service_level_ms THEN 'degraded'
        ELSE 'healthy'
    END AS health_status
FROM counted;
