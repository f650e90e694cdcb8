-- Which migrations this warehouse has. The first migration of all: it is the table that records it.
CREATE TABLE IF NOT EXISTS _schema_migrations (
    migration STRING NOT NULL,          -- V000, V001, … or the file name of an R without its ending
    version NUMBER,                     -- the number of a V; NULL for an R
    name STRING NOT NULL,
    checksum STRING NOT NULL,           -- SHA-256 of the file's bytes, 64 hex digits
    applied_at TIMESTAMP_NTZ NOT NULL,
    applied_by STRING NOT NULL,         -- the user of the process that applied it
    duration_ms DOUBLE NOT NULL,
    query_tag STRING,                   -- of the statements it consists of
    product_version STRING NOT NULL,
    PRIMARY KEY (migration)
);
