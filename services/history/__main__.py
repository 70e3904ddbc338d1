"""`python -m history`: serve the history API. Called by the launcher."""

from aurelian.runtime.service import run_app
from history.app import make_app
from history.settings import HistorySettings

if __name__ == "__main__":
    run_app("history", HistorySettings, make_app)
