"""The stateful consumer: offset, state, rows and events in one transaction."""
