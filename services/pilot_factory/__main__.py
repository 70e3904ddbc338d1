"""`python -m pilot_factory`: run the pilot plant."""

import atexit
import gc

from aurelian.runtime.service import run_worker
from pilot_factory.factory import run_plant
from pilot_factory.settings import PilotSettings


def main() -> None:
    """Run until SIGTERM."""
    # The OPC UA address spaces are 100 MB of small objects: taking them apart at exit would cost
    # most of a second.
    atexit.register(gc.freeze)
    run_worker("pilot_factory", PilotSettings, run_plant)


if __name__ == "__main__":
    main()
