"""Run the partner_events worker: `python -m partner_events`."""

from aurelian.runtime.service import run_worker
from partner_events.settings import PartnerEventsSettings
from partner_events.worker import run


def main() -> None:
    """Start the worker; never returns."""
    run_worker("partner_events", PartnerEventsSettings, run)


if __name__ == "__main__":
    main()
