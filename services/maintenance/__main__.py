"""`python -m maintenance`: run the maintenance worker. Called by the launcher."""

from aurelian.runtime.service import run_worker
from maintenance.processor import run
from maintenance.settings import MaintenanceSettings


def main() -> None:
    """Work until a signal ends it."""
    run_worker("maintenance", MaintenanceSettings, run)


if __name__ == "__main__":
    main()
