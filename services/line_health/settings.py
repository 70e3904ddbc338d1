"""Settings of line_health."""

from aurelian.fold.contract import FoldSettings


class LineHealthSettings(FoldSettings):
    """Kafka, the database, and how often to commit; limits and calendars come with the plant
    model."""
