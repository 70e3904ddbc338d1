"""`python -m line_health`."""

from aurelian.runtime.service import run_worker
from line_health.settings import LineHealthSettings
from line_health.writer import run


def main() -> None:
    """Run the service; never returns."""
    run_worker("line_health", LineHealthSettings, run)


if __name__ == "__main__":
    main()
