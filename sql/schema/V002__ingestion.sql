-- What ingestion keeps beside the stream. Every row here commits in the transaction of its batch.

-- How far each consumer of the log has come. The sink's own word on delivery.
CREATE TABLE IF NOT EXISTS _ingest_progress (
    consumer STRING NOT NULL,
    position STRING NOT NULL,
    batch_id STRING NOT NULL,
    updated_at TIMESTAMP_NTZ NOT NULL,
    PRIMARY KEY (consumer)
);

-- One row: the lineage under which this schema was delivered to. The same id is kept in the state store;
-- where the two differ, what was deleted from the log may not be here.
CREATE TABLE IF NOT EXISTS _ingest_lineage (
    lineage STRING NOT NULL,
    begun_at TIMESTAMP_NTZ NOT NULL
);

-- The tail of each (customer, activity). A row that sorts after the tail gets events + 1 as its
-- occurrence and its ts becomes the tail's activity_repeated_at, so an in-order batch touches as many
-- rows as it brings, however long the history is. A row that sorts before the tail is late: its group
-- is numbered again from there.
CREATE TABLE IF NOT EXISTS _ingest_groups (
    customer STRING NOT NULL,
    activity STRING NOT NULL,
    events NUMBER NOT NULL,
    bytes NUMBER NOT NULL,              -- of its rows, as text: what a question about them may read
    last_ts TIMESTAMP_NTZ NOT NULL,
    last_activity_id STRING NOT NULL,
    PRIMARY KEY (customer, activity)
);

-- Lines that are no events, whole, with the reason and where in the log they stand: a segment and the
-- line's number in it, from 0. id is made of the line's bytes, which are of one place alone.
CREATE TABLE IF NOT EXISTS _quarantine (
    id STRING NOT NULL,
    customer STRING,                    -- as the line has it, where it can be read
    segment STRING,                     -- NULL for a line that did not come from a log
    line_number NUMBER,
    reason STRING NOT NULL,
    line STRING NOT NULL,
    batch_id STRING NOT NULL,
    quarantined_at TIMESTAMP_NTZ NOT NULL,
    PRIMARY KEY (id)
);
