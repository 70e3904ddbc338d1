"""The importer: history out of CSV and Parquet files, through an outbox of its own, to Kafka."""
