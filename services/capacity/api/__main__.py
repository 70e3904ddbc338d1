"""`python -m capacity.api`: serve the capacity API. Called by the launcher."""

from aurelian.runtime.service import run_app
from capacity.api.app import make_app
from capacity.settings import CapacityApiSettings


def main() -> None:
    """Serve until a signal ends it."""
    run_app("capacity.api", CapacityApiSettings, make_app)


if __name__ == "__main__":
    main()
