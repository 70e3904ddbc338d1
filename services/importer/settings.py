"""Settings of the importer."""

from __future__ import annotations

from pydantic import Field

from aurelian.edge.gateway import GatewaySettings


class ImporterSettings(GatewaySettings):
    """What `aurelian import` reads from the environment, beside its options."""

    gateway: str = Field(
        "import-1",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$",
        description="the importer's own name, never shared with a gateway or another importer",
    )
    import_block_bytes: int = Field(
        2**20,
        ge=2**12,
        le=2**26,
        description="of the file that are read and committed at once; memory grows with it",
    )
    import_waiting_batches: int = Field(
        300,
        ge=1,
        description="batches of at most 5,000 values that may wait in the outbox to be stored; "
        "then reading pauses",
    )
