"""A password from a file goes into any URL that libpq takes, and changes nothing else (11)."""

from pathlib import Path

import psycopg.conninfo
import pytest

from aurelian.runtime.settings import with_password

SECRET = "p@ss/w:rd%20#?&"


@pytest.mark.parametrize(
    ("url", "host", "port"),
    [
        ("postgresql://me@db/aurelian", "db", None),
        ("postgresql://me@db:5433/aurelian", "db", "5433"),
        ("postgresql://me@one:5432,two:5433/aurelian", "one,two", "5432,5433"),
        ("postgresql://me@one,two,three/aurelian?target_session_attrs=primary", None, None),
        ("postgresql://me@[::1]:5433/aurelian", "::1", "5433"),
        ("postgresql://me@[2001:db8::1],[2001:db8::2]:5433/aurelian", None, None),
        ("postgresql://me:old@DB.example/aurelian", "DB.example", None),
        ("postgresql://me@/aurelian?host=/var/run/postgresql", "/var/run/postgresql", None),
        ("postgresql:///aurelian?user=me&host=db", "db", None),
        ("postgresql://m%40e@db/aurelian", "db", None),
    ],
)
def test_only_the_password_changes(
    tmp_path: Path, url: str, host: str | None, port: str | None
) -> None:
    file = tmp_path / "password"
    file.write_text(SECRET + "\n")
    before = psycopg.conninfo.conninfo_to_dict(url)
    after = psycopg.conninfo.conninfo_to_dict(with_password(url, file))
    assert after.pop("password") == SECRET
    before.pop("password", None)
    assert after == before
    assert host is None or after["host"] == host
    assert port is None or after["port"] == port
