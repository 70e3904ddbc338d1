"""What a fold was asked for, given on by run.py to session.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic

from aurelian.backbone.topics import Topic
from aurelian.fold.contract import Clock, Fold, FoldSettings, RowT, Write
from aurelian.runtime.health import Health


@dataclass(frozen=True, slots=True)
class FoldTask(Generic[RowT]):
    """What `run_fold` was asked for."""

    settings: FoldSettings
    url: str
    health: Health
    service: str
    consumer: str
    fold: Fold[RowT]
    write: Write[RowT]
    owned: tuple[Topic, ...]
    shared: tuple[Topic, ...]
    exclusive: bool
    clock: Clock

    @property
    def name(self) -> str:
        return f"{self.service}/{self.consumer}"

    @property
    def group(self) -> str:
        return f"aurelian-{self.service}-{self.consumer}"
