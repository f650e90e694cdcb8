-- The base stream: strict ActivitySchema v2. The first five columns are what the specification
-- requires, the next two what it allows; everything that begins with an underscore is an extension.
-- The specification can be read in two ways, and this table follows its text to the letter: of its
-- columns only those it requires or allows keep its names, so its activity_id and feature_json are
-- _activity_id and _feature_json here. The community's packages expect all of them by their plain
-- names: they read the view activity_stream.
-- Clustered the way every question reads it: one customer, a stretch of time.
CREATE TABLE IF NOT EXISTS events (
    activity STRING NOT NULL,
    customer STRING NOT NULL,
    ts TIMESTAMP_NTZ NOT NULL,
    activity_repeated_at TIMESTAMP_NTZ,
    activity_occurrence NUMBER NOT NULL,
    link STRING,
    revenue_impact NUMBER(38, 6),
    _feature_json VARIANT,
    _source_system STRING,
    _source_version STRING,
    _session_id STRING,
    _query_tag STRING,
    _activity_id STRING,
    _accepted_at TIMESTAMP_NTZ,         -- when the log took it; an import's ts is older
    _ingested_at TIMESTAMP_NTZ          -- when the warehouse took it
) CLUSTER BY (customer, ts);
