"""The gateway to machines that speak OPC UA: subscribes to nodes and brings their values to Kafka
through its outbox."""
