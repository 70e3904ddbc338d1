"""Settings of the historian."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from aurelian.runtime.settings import KafkaSettings, StoreSettings


class HistorianSettings(KafkaSettings, StoreSettings):
    """What the historian can be told."""

    partitions: Literal["group", "all"] = Field(
        "group",
        description="group: shared with other historians; all: this process takes them all",
    )
    retention_days: int = Field(400, gt=0, description="samples older than this are dropped")
    commit_interval_s: float = Field(
        0.1, gt=0, description="rows wait at most this long for company in a transaction"
    )
    commit_samples: int = Field(
        100_000, gt=0, description="samples in one transaction at most, about"
    )
    transaction_limit_s: float = Field(
        20.0,
        gt=0,
        description="the database ends a transaction that takes longer: a paused historian must "
        "not hold its locks "
        "(PostgreSQL 17 or newer)",
    )
    hole_limit_s: float = Field(
        60.0,
        gt=0,
        description="a batch that is still missing when later ones are this old becomes a gap "
        "record",
    )
    hole_close_s: float = Field(
        3600.0,
        gt=0,
        description="a batch that is missing this long no longer holds back its stream: longer "
        "than a gateway takes to send again what is not stored (15 minutes); it is still stored "
        "when it comes later",
    )
    stream_end_s: float = Field(
        86_400.0,
        gt=0,
        description="a stream of a former start of its gateway that rests this long is over: "
        "Kafka may forget how far it is stored",
    )
    stream_forget_s: float = Field(
        30 * 86_400.0,
        gt=0,
        description="how far an ended stream is stored is forgotten after this time: longer than "
        "Kafka keeps samples (7 days)",
    )
    announce_days: int = Field(
        7,
        gt=0,
        description="streams of gateways that were active in this time are announced again on a "
        "start",
    )

    @property
    def group(self) -> str | None:
        """Name of the consumer group; None: no group, all partitions."""
        return "historian" if self.partitions == "group" else None
