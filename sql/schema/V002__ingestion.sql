-- What ingestion keeps beside the stream. Every row here commits in the transaction of its batch.

-- Identity: an event whose id is here is never inserted again.
CREATE TABLE IF NOT EXISTS _ingest_ids (
    activity_id STRING NOT NULL,
    batch_id STRING NOT NULL,
    PRIMARY KEY (activity_id)
);

-- How far each consumer of the log has come. The sink's own word on delivery.
CREATE TABLE IF NOT EXISTS _ingest_progress (
    consumer STRING NOT NULL,
    position STRING NOT NULL,
    batch_id STRING NOT NULL,
    updated_at TIMESTAMP_NTZ NOT NULL,
    PRIMARY KEY (consumer)
);

-- The tail of each (customer, activity). A row that sorts after the tail gets events + 1 as its
-- occurrence and its ts becomes the tail's activity_repeated_at, so an in-order batch touches as many
-- rows as it brings, however long the history is. A row that sorts before the tail is late: its group
-- is numbered again from there.
CREATE TABLE IF NOT EXISTS _ingest_groups (
    customer STRING NOT NULL,
    activity STRING NOT NULL,
    events NUMBER NOT NULL,
    last_ts TIMESTAMP_NTZ NOT NULL,
    last_activity_id STRING NOT NULL,
    PRIMARY KEY (customer, activity)
);

-- Lines that are no events, whole, with the reason and the segment and place they came from.
CREATE TABLE IF NOT EXISTS _quarantine (
    line STRING NOT NULL,
    reason STRING NOT NULL,
    origin STRING NOT NULL,
    batch_id STRING NOT NULL,
    quarantined_at TIMESTAMP_NTZ NOT NULL
);
