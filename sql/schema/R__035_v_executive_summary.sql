-- One row per customer: the last 30 days up to the customer's latest event.
CREATE OR REPLACE VIEW v_executive_summary COPY GRANTS AS
WITH latest AS (
    SELECT customer, MAX(day_ts) AS last_day_ts
    FROM vw_product_metrics
    GROUP BY customer
)
SELECT
    m.customer,
    MAX(m.day_ts) AS last_day_ts,
    COUNT(*) AS active_days,
    SUM(m.events)::NUMBER AS events,
    SUM(m.questions)::NUMBER AS questions,
    SUM(m.answers)::NUMBER AS answers,
    SUM(m.queries)::NUMBER AS queries,
    SUM(m.insights)::NUMBER AS insights,
    SUM(m.failures)::NUMBER AS failures,
    ROUND(AVG(m.health_score), 1)::DOUBLE AS avg_health_score
FROM vw_product_metrics AS m
JOIN latest ON latest.customer = m.customer
WHERE m.day_ts > DATEADD(day, -30, latest.last_day_ts)
GROUP BY m.customer;
