"""What every part of a plant model is: immutable, and read as its file says it. Base of the classes
in plant_parts.py, monitoring.py and source_model.py."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, model_validator

from aurelian.model.written import read_written


class PlantPart(BaseModel):
    """A part of a plant model: immutable, and no field that nobody knows. What a file says is
    read as its field needs it."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _read(cls, given: object) -> object:
        if not isinstance(given, dict):
            return given
        fields = cls.model_fields
        return {
            str(name): read_written(value, fields[name].annotation) if name in fields else value
            for name, value in given.items()
        }
