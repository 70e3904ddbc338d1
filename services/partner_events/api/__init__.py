"""The HTTP API of partner_events: polling, streams, endpoints, grants. `python -m
partner_events.api`."""
