"""What the embedded stack makes so that its gateway and its pilot plant know each other."""

from __future__ import annotations

import asyncio
from pathlib import Path

from aurelian.edge.applications import PILOT_URI, gateway_store, pilot_certificate, pilot_store
from aurelian.edge.certificates import utc_now
from aurelian.edge.trust_store import Listed, TrustStore
from aurelian.local import pilot_trust
from tests.waiting import until


def lists(home: Path) -> tuple[TrustStore, TrustStore]:
    state = home / "state"
    return gateway_store(state / pilot_trust.GATEWAY), pilot_store(state / pilot_trust.PILOT)


def sha256s(listed: list[Listed]) -> list[str]:
    return [each.sha256 for each in listed]


def test_each_has_the_other_in_its_list_and_a_second_start_changes_nothing(tmp_path: Path) -> None:
    assert pilot_trust.introduce(tmp_path) == ""
    gateway, pilot = lists(tmp_path)
    assert sha256s(gateway.listed("trusted")) == sha256s(pilot.listed("own"))
    assert sha256s(pilot.listed("trusted")) == sha256s(gateway.listed("own"))
    own = pilot_certificate(pilot)
    assert (own.uri, own.warnings) == (PILOT_URI, ())
    password = pilot_trust.password_file(tmp_path).read_text()
    assert len(password) >= 32
    assert pilot_trust.password_file(tmp_path).stat().st_mode & 0o077 == 0
    files = sorted(tmp_path.rglob("*"))
    assert pilot_trust.introduce(tmp_path) == ""
    assert sorted(tmp_path.rglob("*")) == files
    assert pilot_trust.password_file(tmp_path).read_text() == password


async def test_a_certificate_that_is_replaced_is_trusted_at_the_next_look(tmp_path: Path) -> None:
    assert pilot_trust.introduce(tmp_path) == ""
    gateway, pilot = lists(tmp_path)
    before = pilot.listed("own")
    said: list[str] = []
    looked = asyncio.Event()

    async def wait(seconds: float) -> None:
        if looked.is_set():
            await asyncio.Event().wait()
        looked.set()

    (pilot.folder / "own" / "certificate.der").unlink()
    (pilot.folder / "own" / "key.pem").unlink()
    keeping = asyncio.create_task(pilot_trust.keep_introduced(tmp_path, said.append, wait))
    await until(lambda: len(gateway.listed("trusted")) == 2, "the new one")
    keeping.cancel()
    await asyncio.wait({keeping})
    assert pilot.listed("own") != before and not said
    assert set(sha256s(pilot.listed("own"))) < set(sha256s(gateway.listed("trusted")))


def test_what_cannot_be_read_is_said_and_ends_nothing(tmp_path: Path) -> None:
    gateway, _ = lists(tmp_path)
    gateway.own("urn:x", ["h"], utc_now())
    (gateway.folder / "own" / "key.pem").write_text("no key")
    assert "key.pem" in pilot_trust.introduce(tmp_path)
