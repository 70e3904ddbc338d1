"""`python -m maintenance.api`: serve the maintenance API. Called by the launcher."""

from aurelian.runtime.service import run_app
from maintenance.api.app import make_app
from maintenance.settings import MaintenanceApiSettings


def main() -> None:
    """Serve until a signal ends it."""
    run_app("maintenance.api", MaintenanceApiSettings, make_app)


if __name__ == "__main__":
    main()
