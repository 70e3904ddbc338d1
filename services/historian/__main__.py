"""`python -m historian`: store what Kafka has."""

from aurelian.runtime.service import run_worker
from historian.rounds import main
from historian.settings import HistorianSettings

if __name__ == "__main__":
    run_worker("historian", HistorianSettings, main)
