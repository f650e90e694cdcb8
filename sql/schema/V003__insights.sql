-- Authoritative recall: a projection of cdesk.insight_recorded events, rebuilt by replaying them.
-- id is the _activity_id of the event.
CREATE TABLE IF NOT EXISTS insight_atoms (
    id STRING NOT NULL,
    ts TIMESTAMP_NTZ NOT NULL,
    customer STRING NOT NULL,
    subject STRING NOT NULL,
    metric STRING NOT NULL,
    value VARIANT,
    grain STRING,
    filter_json VARIANT,
    confidence DOUBLE,
    artifact_id STRING,
    provenance_query_hash STRING,
    is_verified BOOLEAN NOT NULL,       -- whether a question of that hash was answered here
    valid_from TIMESTAMP_NTZ,
    valid_until TIMESTAMP_NTZ,
    PRIMARY KEY (id)
);

-- Full results; at most 10 rows of each are kept here as a sample.
CREATE TABLE IF NOT EXISTS artifacts (
    artifact_id STRING NOT NULL,
    created_ts TIMESTAMP_NTZ NOT NULL,
    customer STRING NOT NULL,
    artifact_type STRING NOT NULL,
    sample VARIANT,
    row_count NUMBER,
    content_schema VARIANT,
    url STRING,
    bytes NUMBER,
    query_hash STRING,
    query_tag STRING,
    sampled BOOLEAN,
    expires_at TIMESTAMP_NTZ,
    legal_hold BOOLEAN,
    PRIMARY KEY (artifact_id)
);

-- Derived, never the source of truth.
CREATE TABLE IF NOT EXISTS context_cache (
    customer STRING NOT NULL,
    context_blob VARIANT,
    updated_at TIMESTAMP_NTZ NOT NULL,
    version NUMBER NOT NULL,
    PRIMARY KEY (customer)
);
