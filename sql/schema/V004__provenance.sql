-- What a query hash stands for: sql and params are what the hash was taken over, so the hash can be computed again from
-- the row (sql ends with the template's constants, its parameters' types and its row_cap as JSON). The hash is of the
-- question alone, so two customers who ask the same share it; customer is part of the row so that each sees, exports
-- and erases only their own.
CREATE TABLE IF NOT EXISTS provenance (
    query_hash STRING NOT NULL,
    template STRING NOT NULL,
    template_version NUMBER NOT NULL,
    sql STRING NOT NULL,
    params VARIANT,
    created_at TIMESTAMP_NTZ NOT NULL,
    created_by STRING,
    customer STRING NOT NULL,
    PRIMARY KEY (customer, query_hash)
);

-- Every execution. query_tag is the first 8 digits of query_uuid behind cdesk_.
CREATE TABLE IF NOT EXISTS query_audit (
    ticket_id STRING NOT NULL,
    query_tag STRING NOT NULL,
    query_uuid STRING NOT NULL,
    query_hash STRING NOT NULL,
    customer STRING NOT NULL,
    template STRING NOT NULL,
    template_version NUMBER NOT NULL,
    bytes_estimated NUMBER,
    bytes_scanned NUMBER,
    row_count NUMBER,
    duration_ms DOUBLE,
    outcome STRING NOT NULL,            -- done, failed or cancelled
    sampled BOOLEAN,
    started_at TIMESTAMP_NTZ NOT NULL,
    PRIMARY KEY (ticket_id)
);
