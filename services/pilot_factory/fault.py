"""`python -m pilot_factory.fault stop pilot-a/north/machining/line-1/cnc-2 --seconds 60`: ask a
running pilot plant for a fault."""

from __future__ import annotations

import argparse
import json
import os
import sys
import urllib.error
import urllib.parse
import urllib.request

from pilot_factory.faults import FaultKind


def main() -> None:
    """Send one request and print the answer; exit code 1 and the reason where it was refused."""
    parser = argparse.ArgumentParser(prog="python -m pilot_factory.fault", description=__doc__)
    parser.add_argument("fault", choices=[*(kind.value for kind in FaultKind), "end", "units"])
    parser.add_argument("unit", nargs="?", help="path of the unit; with `end`: none for all")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long (default 60)")
    parser.add_argument(
        "--factor", type=float, default=1000.0, help="wear only: how many times faster (1000)"
    )
    port = os.environ.get("AURELIAN_PILOT_CONTROL_PORT", "4980")
    parser.add_argument(
        "--url", default=f"http://127.0.0.1:{port}", help="control API of the pilot plant"
    )
    wanted = parser.parse_args()
    if wanted.unit is None and wanted.fault not in ("end", "units"):
        parser.error("name the unit: enterprise/site/area/line/unit; `units` lists them")
    try:
        with urllib.request.urlopen(_request(wanted), timeout=5) as answer:
            print(json.dumps(json.load(answer), indent=1))
    except urllib.error.HTTPError as error:
        problem = json.load(error)
        sys.exit(f"refused: {problem.get('detail') or problem}")
    except OSError as error:
        sys.exit(
            f"no pilot plant at {wanted.url}: {error}; start it with `aurelian up`, or name its "
            "--url"
        )


def _request(wanted: argparse.Namespace) -> urllib.request.Request:
    if wanted.fault == "units":
        return urllib.request.Request(f"{wanted.url}/units")
    if wanted.fault == "end":
        query = "?" + urllib.parse.urlencode({"unit": wanted.unit}) if wanted.unit else ""
        return urllib.request.Request(f"{wanted.url}/faults{query}", method="DELETE")
    body = {
        "unit": wanted.unit,
        "fault": wanted.fault,
        "seconds": wanted.seconds,
        "factor": wanted.factor,
    }
    return urllib.request.Request(
        f"{wanted.url}/faults",
        data=json.dumps(body).encode(),
        headers={"content-type": "application/json"},
        method="POST",
    )


if __name__ == "__main__":
    main()
