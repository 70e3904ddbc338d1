"""The gateway to machines that speak MQTT: plain JSON and Sparkplug B, brought to Kafka through its
outbox."""
