"""Who has a room in the database: roles and schemas by service. Read by `roles.py`, `tables/` and
`events/outbox.py`."""

SERVICES = (
    "historian",
    "history",
    "line_health",
    "maintenance",
    "capacity",
    "partner_events",
    "dashboard",
)
"""Services with a database role `aurelian_<service>`; those that write own a schema of their
name."""

SCHEMA_OWNERS = ("historian", "line_health", "maintenance", "capacity", "partner_events")
"""Services that own a schema."""

FOLD_SERVICES = ("line_health", "maintenance", "capacity", "partner_events")
"""Services built on `fold/run.py`: a snapshot, an inbox and an event outbox beside their
offsets."""
