"""Business events: CloudEvents, the event outbox and its relay."""
