"""What the gateways share: the adapter contract, the outbox on disk, the way to Kafka."""
