"""`python -m pilot_factory`: run the pilot plant."""

from aurelian.service import run_worker

from pilot_factory.factory import run_plant
from pilot_factory.settings import PilotSettings


def main() -> None:
    """Run until SIGTERM."""
    run_worker("pilot_factory", PilotSettings, run_plant)


if __name__ == "__main__":
    main()
