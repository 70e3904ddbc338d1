"""Kafka: producer, consumer, the one table of topics."""
