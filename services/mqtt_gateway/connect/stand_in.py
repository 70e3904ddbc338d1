"""A plant without machines around a source that no plant file has yet. Used by the ladder."""

from __future__ import annotations

from aurelian.model.plant import Plant
from aurelian.model.source_model import SourceModel


def plant_around(model: SourceModel) -> Plant:
    """All that the source brings is unknown to it. `{enterprise}` and `{site}` of a topic are
    these words."""
    return Plant.model_validate(
        {
            "company": {"id": "enterprise", "name": "enterprise"},
            "site": "site",
            "time_zone": model.time_zone,
            "sources": [model.model_copy()],
            "areas": [{"name": "area"}],
        }
    )
