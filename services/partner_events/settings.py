"""Settings of the partner_events worker and of its API, read from `AURELIAN_*`."""

from __future__ import annotations

from pydantic import Field, field_validator

from aurelian.fold.contract import FoldSettings
from aurelian.runtime.settings import ApiSettings, CommonSettings
from partner_events.ssrf import Allowed, parse_allowed


class WebhookSettings(CommonSettings):
    """What worker and API both need to call a webhook."""

    webhook_allow: str = Field(
        "",
        description=(
            "targets besides https on public addresses, over http too: host:port, host "
            "or CIDR, comma separated"
        ),
    )

    @field_validator("webhook_allow")
    @classmethod
    def _is_list(cls, text: str) -> str:
        parse_allowed(text)
        return text

    @property
    def allowed(self) -> Allowed:
        """`webhook_allow`, read."""
        return parse_allowed(self.webhook_allow)


class PartnerEventsSettings(FoldSettings, WebhookSettings):
    """For the worker."""

    event_keep_days: float = Field(
        40.0,
        ge=31,
        description=(
            "events and delivery records are kept this long: longer than the topics, "
            "which may repeat them"
        ),
    )
    reading_keep_days: float = Field(
        3.0,
        ge=2,
        description=(
            "the same for KPI and health readings, of which a later one replaces an earlier one"
        ),
    )


class PartnerEventsApiSettings(ApiSettings, WebhookSettings):
    """For the API."""

    max_endpoints: int = Field(20, gt=0, description="endpoints that one company may register")
    max_streams: int = Field(
        200, gt=0, description="SSE streams open at once; one more is answered with 503"
    )
    poll_interval_s: float = Field(
        1.0, gt=0, description="longest time until an open stream sees a new event or a revoked key"
    )
