"""The shared kit of Aurelian: what every service uses to talk to Kafka, the store and each
other."""

__version__ = "0.1.0"
