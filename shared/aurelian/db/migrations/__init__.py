"""The one Alembic history; see README.md for how to add a step."""
