"""`python -m pilot_factory.replay FILE.csv --as opcua|mqtt --speed N`: serve the columns of a
recording as a machine.

Called by `aurelian replay` and by end-to-end tests. Nothing is lost on the way: OPC UA rows wait
for the client's acknowledgement, MQTT messages for the broker's.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from aurelian.model.time import now_us
from pilot_factory.recording import Recording, RecordingError, plant_model, read_recording
from pilot_factory.replay_mqtt import publish_recording
from pilot_factory.replay_opcua import serve_recording
from pilot_factory.sendlog import SendLog

DEFAULT_PORT = 4841
Tell = Callable[[str], None]


class Pace:
    """When each row is due: as recorded, `speed` times faster; 0: all at once. Starts at the first
    question."""

    def __init__(self, recording: Recording, speed: float) -> None:
        self._times = [row.time for row in recording.rows]
        self._speed = speed
        self._begun: float | None = None

    def due(self, first: int) -> int:
        """Index after the last row from `first` on that is due now."""
        if self._speed == 0:
            return len(self._times)
        if self._begun is None:
            self._begun = time.monotonic()
        reached = self._times[0] + (time.monotonic() - self._begun) * self._speed * 1_000_000
        end = first
        while end < len(self._times) and self._times[end] <= reached:
            end += 1
        return end


async def replay(
    file: Path,
    as_: str,
    speed: float = 1.0,
    *,
    separator: str | None = None,
    time_column: str | None = None,
    where: str | None = None,
    start: int | None = None,
    now: bool = False,
    host: str = "127.0.0.1",
    port: int = DEFAULT_PORT,
    mqtt_url: str = "mqtt://127.0.0.1:1883",
    send_log: Path | None = None,
    tell: Tell = lambda sentence: None,
) -> int:
    """Serve a recording once and return how many values were sent; every one was acknowledged.

    Args:
        file: CSV, see `recording.read_recording`.
        as_: `opcua`: a server on `host:port`; `mqtt`: JSON messages to `mqtt_url`.
        speed: times faster than recorded; 0: as fast as it is acknowledged.
        separator, time_column: of the file, where they cannot be found from it.
        where: `title=text`: only the rows whose cell of that column is that text.
        start: time of the first row of a file without times, microseconds since 1970; default: so
            that the last is now.
        now: move the times so that the recording happens now instead of when it was made.
        host, port: opcua: where to listen.
        mqtt_url: mqtt: the broker.
        send_log: folder for the log of every value sent.
        tell: is given sentences about the progress.

    Raises:
        RecordingError: the file is unusable.
        OSError: the port is taken.
    """
    recording = read_recording(file, separator=separator, time_column=time_column, where=where)
    if not recording.timed:
        recording = recording.shifted(start) if start is not None else _to_now(recording, 0)
    if now:
        recording = _to_now(recording, speed)
    tell(
        f"{file.name}: {len(recording.rows)} rows of {len(recording.columns)} signals, "
        f"{recording.values} values"
    )
    with ExitStack() as stack:
        sent = None
        if send_log is not None:
            sent = SendLog(send_log, f"replay-{recording.name}")
            stack.callback(sent.close)
        pace = Pace(recording, speed)
        if as_ == "opcua":
            await serve_recording(recording, pace.due, host, port, sent, tell)
        else:
            await publish_recording(recording, pace.due, mqtt_url, sent, tell)
    return recording.values


def main() -> None:
    """Run the command line; ends the process."""
    wanted = _arguments()
    try:
        if wanted.write_plant is not None or wanted.print_plant:
            _give_plant(wanted)
        if wanted.print_plant:
            return
        with contextlib.suppress(asyncio.CancelledError):
            asyncio.run(_until_stopped(wanted))
    except (RecordingError, OSError) as error:
        sys.exit(f"replay: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


async def _until_stopped(wanted: argparse.Namespace) -> None:
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    values = await replay(
        wanted.file,
        wanted.as_,
        wanted.speed,
        separator=wanted.separator,
        time_column=wanted.time_column,
        where=wanted.where,
        now=wanted.now,
        host=wanted.host,
        port=wanted.port,
        mqtt_url=wanted.mqtt_url,
        send_log=wanted.send_log,
        tell=lambda sentence: print(sentence, file=sys.stderr, flush=True),
    )
    print(f"{values} values sent and acknowledged", file=sys.stderr)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m pilot_factory.replay", description=__doc__)
    parser.add_argument("file", type=Path, help="CSV file: a column of times, then one per signal")
    parser.add_argument("--as", dest="as_", choices=("opcua", "mqtt"), required=True)
    parser.add_argument(
        "--speed", type=float, default=1.0, help="times faster than recorded; 0: at once"
    )
    parser.add_argument("--separator", help="of the cells; found from the header where not given")
    parser.add_argument("--time-column", help="title of the column with the times")
    parser.add_argument(
        "--where", metavar="COLUMN=TEXT", help="only the rows with that cell: one machine of many"
    )
    parser.add_argument("--now", action="store_true", help="move the times: it happens now")
    parser.add_argument("--host", default="127.0.0.1", help="opcua: address to listen on")
    parser.add_argument(
        "--port", type=int, default=DEFAULT_PORT, help=f"opcua: port ({DEFAULT_PORT})"
    )
    url = os.environ.get("AURELIAN_MQTT_URL", "mqtt://127.0.0.1:1883")
    parser.add_argument("--mqtt-url", default=url, help=f"mqtt: broker ({url})")
    parser.add_argument("--send-log", type=Path, help="folder for the log of every value sent")
    parser.add_argument(
        "--print-plant", action="store_true", help="print the plant model that fits, and end"
    )
    parser.add_argument(
        "--write-plant", type=Path, metavar="FOLDER", help="write that plant model there"
    )
    return parser.parse_args()


def _give_plant(wanted: argparse.Namespace) -> None:
    recording = read_recording(
        wanted.file, separator=wanted.separator, time_column=wanted.time_column, where=wanted.where
    )
    url = f"opc.tcp://{wanted.host}:{wanted.port}" if wanted.as_ == "opcua" else wanted.mqtt_url
    model = plant_model(recording, wanted.as_, url)
    if wanted.print_plant:
        print(model, end="")
    if wanted.write_plant is not None:
        file = wanted.write_plant / f"replay-{recording.name}.yaml"
        file.write_text(model, encoding="utf-8")
        print(f"wrote {file}", file=sys.stderr)


def _to_now(recording: Recording, speed: float) -> Recording:
    """Move the times: the first row is now, or, where all goes at once, the last one is."""
    anchor = recording.rows[0 if speed else -1].time
    return recording.shifted(_whole_ms(now_us() - anchor))


def _whole_ms(microseconds: int) -> int:
    return microseconds // 1000 * 1000


if __name__ == "__main__":
    main()
