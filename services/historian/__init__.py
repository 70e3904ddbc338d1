"""Kafka to the store: takes batches of samples, keeps every value exactly once or says why not."""
