"""The keys that a start makes: one for each company's pages, none that opens them all."""

from __future__ import annotations

from pathlib import Path

import psycopg

import pilot_factory
from aurelian.access.keys import create_key, make_pepper
from aurelian.local.preparation import KIT
from aurelian.local.services import page_keys, page_links, pepper_file
from tests import servers

PLANTS = Path(pilot_factory.__file__).parent / "plants"


def alive(url: str) -> list[tuple[str, str]]:
    with psycopg.connect(url) as connection:
        return connection.execute(
            "SELECT owner, name FROM platform.api_key WHERE revoked_at IS NULL ORDER BY 1, 2"
        ).fetchall()


def test_each_company_gets_keys_once_and_a_key_of_all_companies_ends(
    postgres: servers.PostgresServer, migrated_template: str, tmp_path: Path
) -> None:
    url = postgres.create_database(migrated_template)
    state = tmp_path / "state"
    (state / "dashboard").mkdir(parents=True)
    pepper = make_pepper(pepper_file(tmp_path))
    every = create_key(url, owner="*", name="dashboard", scopes=["history:read"], pepper=pepper)
    (state / "dashboard" / "api-key").write_text(every)
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    (first / "a.yaml").write_text((PLANTS / "pilot-a.yaml").read_text())
    second.mkdir()
    for name in ("pilot-a", "pilot-b"):
        (second / f"{name}.yaml").write_text((PLANTS / f"{name}.yaml").read_text())
    shown = KIT.create_keys(url, tmp_path, first)
    assert [line.split()[0] for line in shown] == ["pilot-a"]
    assert alive(url) == [("pilot-a", "development"), ("pilot-a", "pages")]
    # A company that comes later gets its own; who has some keeps them.
    before = page_links(tmp_path, "http://x")
    shown = KIT.create_keys(url, tmp_path, second)
    assert [line.split()[0] for line in shown] == ["pilot-b"]
    links = page_links(tmp_path, "http://x")
    assert [company for company, _ in links] == ["pilot-a", "pilot-b"] and links[:1] == before
    assert all(link.startswith("http://x/?key=ak_") for _, link in links)
    assert (page_keys(tmp_path) / "pilot-a").stat().st_mode & 0o777 == 0o600
    assert KIT.create_keys(url, tmp_path, second) == ()
    postgres.drop_database(url)
