"""`aurelian connect opcua` as a program runs it, against node-opcua: from an address to a plant
file."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

from aurelian.model.plant_file import load_plant
from aurelian.model.plant_parts import LineState
from tests.peers.node_opcua_server import NAMESPACE, node_opcua


async def connect(url: str, folder: Path, *options: str) -> tuple[int, list[dict[str, Any]], str]:
    """Exit code, rows and words of a run that asks nothing."""
    argv = ["connect", "opcua", url, "--json", "--seconds", "1", "--home", str(folder / "home")]
    argv += ["--plant", str(folder / "plant"), "--company", "acme", "--site", "works"]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "aurelian.cli", *argv, "--time-zone", "Europe/Oslo", *options,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE, env=os.environ,
    )  # fmt: skip
    out, err = await process.communicate()
    rows = [json.loads(line) for line in out.decode().splitlines()]
    return process.returncode or 0, rows, err.decode()


def failed(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The step that failed."""
    (step,) = [row["step"] for row in rows if row.get("step", {}).get("verdict") == "failed"]
    return dict(step)


async def test_from_an_address_to_a_plant_file_that_keeps_what_stands_there(
    tmp_path: Path,
) -> None:
    async with node_opcua(tmp_path, nodes=4, analog=1) as server:
        code, rows, said = await connect(server.url, tmp_path, "--name", "press", "--dry-run")
        assert code == 0, said
        assert not (tmp_path / "plant").exists()
        code, rows, said = await connect(
            server.url, tmp_path, "--name", "press", "--choose", "**/v0", "--choose", "v1",
            "--states", "v1=0:running,1:down",
        )  # fmt: skip
        assert code == 0, said
        file = tmp_path / "plant" / "works.yaml"
        assert {"written": str(file), "source": "acme/works/press"} in rows
        plant = load_plant(file)
        assert plant.path == "acme/works" and plant.time_zone == "Europe/Oslo"
        (unit,) = plant.units()
        signals = {each.name: each for each in unit.model.signals}
        assert signals["v0"].address == f"nsu={NAMESPACE};s=v0" and signals["v0"].unit == "Cel"
        assert signals["v1"].states == {"0": LineState.RUNNING, "1": LineState.DOWN}
        assert (tmp_path / "plant" / "plant.schema.json").exists()

        # What a person wrote into it stays when the next one is connected.
        file.write_text(file.read_text().replace("time_zone:", "# our zone\ntime_zone:"))
        before = file.read_text()
        code, rows, said = await connect(
            server.url, tmp_path, "--name", "oven", "--choose", "**/v2", "--line", "line-2"
        )
        assert code == 0, said
        assert file.read_text() != before and "# our zone\n" in file.read_text()
        assert [each.id for each in load_plant(file).sources] == ["press", "oven"]
        assert [each.model.name for each in load_plant(file).lines()] == ["line-1", "line-2"]

        # The same name again is refused, and nothing is written.
        before = file.read_text()
        more = ("--choose", "**/v3", "--choose", "**/v2")
        code, rows, said = await connect(server.url, tmp_path, "--name", "oven", *more)
        assert code == 2 and "source 'oven' stands in more than one place" in said
        assert file.read_text() == before

        # Nodes that are connected already are not taken a second time.
        code, rows, said = await connect(server.url, tmp_path)
        assert code == 1 and "nothing is new here: acme/works/press has it already" in said
        assert file.read_text() == before
        # Nor are they asked for.
        asked = await connect(server.url, tmp_path, *more, "--states", "v2=0:down")
        assert asked[0] == 2 and "--states: nothing is at v2" in asked[2]
        code, rows, said = await connect(server.url, tmp_path, *more)
        assert code == 0, said
        plant = load_plant(file)
        assert [each.id for each in plant.sources] == ["press", "oven"]
        addresses = [each.address for unit in plant.units() for each in unit.model.signals]
        assert sorted(addresses) == [f"nsu={NAMESPACE};s=v{n}" for n in range(4)]


async def test_a_certificate_is_trusted_by_its_fingerprint_alone(tmp_path: Path) -> None:
    async with node_opcua(
        tmp_path, nodes=1, policies=["Basic256Sha256"], modes=["SignAndEncrypt"], anonymous=False,
        password="sesame",
    ) as server:  # fmt: skip
        code, rows, _ = await connect(server.url, tmp_path)
        step = failed(rows)
        assert (code, step["code"]) == (1, "E1401")
        facts = step["facts"]
        assert len(facts["server_sha256"]) == 64 and len(facts["own_sha256"]) == 64

        code, rows, _ = await connect(server.url, tmp_path, "--trust", "0" * 64)
        assert (code, failed(rows)["code"]) == (1, "E1401")

        code, rows, said = await connect(server.url, tmp_path, "--trust", facts["server_sha256"])
        assert (code, failed(rows)["rung"]) == (1, "sign_in"), said

        word = tmp_path / "word"
        word.write_text("wrong")
        sign_in = ["--user", "operator", "--password-file", str(word)]
        sign_in += ["--trust", facts["server_sha256"]]
        code, rows, _ = await connect(server.url, tmp_path, *sign_in)
        assert (code, failed(rows)["code"]) == (1, "E1506")

        word.write_text("sesame")
        code, rows, said = await connect(server.url, tmp_path, *sign_in)
        assert code == 0, said
        assert "sesame" not in json.dumps(rows) + said
        text = (tmp_path / "plant" / "works.yaml").read_text()
        assert f"password_file: {word}" in text and "sesame" not in text
