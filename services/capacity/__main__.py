"""`python -m capacity`: run the capacity worker. Called by the launcher."""

from aurelian.runtime.service import run_worker
from capacity.processor import run
from capacity.settings import CapacitySettings


def main() -> None:
    """Work until a signal ends it."""
    run_worker("capacity", CapacitySettings, run)


if __name__ == "__main__":
    main()
