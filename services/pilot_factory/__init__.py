"""A simulated plant that speaks the protocols of real machines: OPC UA, Sparkplug B and JSON over
MQTT."""
