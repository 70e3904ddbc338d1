"""Run the partner_events API: `python -m partner_events.api`."""

from aurelian.runtime.service import run_app
from partner_events.api.app import make_app
from partner_events.settings import PartnerEventsApiSettings


def main() -> None:
    """Start the API; never returns."""
    run_app("partner_events.api", PartnerEventsApiSettings, make_app)


if __name__ == "__main__":
    main()
