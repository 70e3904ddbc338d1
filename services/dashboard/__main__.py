"""`python -m dashboard`: serve the operators' pages. Called by the launcher."""

from aurelian.runtime.service import run_app
from dashboard.app import make_app
from dashboard.settings import DashboardSettings


def main() -> None:
    """Serve until a signal ends it."""
    run_app("dashboard", DashboardSettings, make_app)


if __name__ == "__main__":
    main()
