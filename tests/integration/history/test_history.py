"""The history API over a real database: fidelity, buckets, owners, bad parameters."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import httpx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aurelian.access.keys import create_key, make_pepper
from aurelian.db.engine import as_role, connect
from aurelian.model.sample import BAD, Flag, Sample, Signal, ValueType, make_batch
from aurelian.runtime.health import Health
from historian.catalog import Catalog
from historian.prepared import encode_columns
from historian.rollup_sql import merge_rollups
from historian.sample_columns import make_columns
from historian.sample_sql import insert_rows, open_session
from history.app import make_app
from history.settings import HistorySettings
from tests import servers

START = datetime(2026, 11, 20, 10, 0, tzinfo=UTC)
START_US = int(START.timestamp()) * 1_000_000
LINE = "acme/site/area/line-1"


@dataclass
class Api:
    """The API under test and keys for it."""

    client: httpx.AsyncClient
    loop: asyncio.AbstractEventLoop
    keys: dict[str, str]

    def get(
        self, route: str, /, who: str = "acme", accept: str = "", **params: object
    ) -> httpx.Response:
        """Ask a route; `from_` is the parameter `from`."""
        named = {name.rstrip("_"): value for name, value in params.items()}
        headers = {"Authorization": f"Bearer {self.keys[who]}"} if who else {}
        if accept:
            headers["Accept"] = accept
        return self.loop.run_until_complete(
            self.client.get(f"/history/v1/{route}", params=named, headers=headers)  # type: ignore[arg-type]
        )


@pytest.fixture(scope="module")
def api(
    postgres: servers.PostgresServer,
    migrated_template: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Api]:
    """The app in this process, over a database with a few signals, which the tests only read."""
    database_url = postgres.create_database(migrated_template)
    pepper = tmp_path_factory.mktemp("history") / "pepper"
    make_pepper(pepper)
    keys = {
        owner: create_key(
            database_url,
            owner=owner,
            name="test",
            scopes=["history:read"],
            pepper=pepper.read_bytes(),
        )
        for owner in ("acme", "rival", "*")
    }
    keys["no scope"] = create_key(
        database_url, owner="acme", name="test", scopes=["events:read"], pepper=pepper.read_bytes()
    )
    with asyncio.Runner() as runner:
        runner.run(_fill(database_url))
        app = make_app(
            HistorySettings(database_url=as_role(database_url, "history"), key_pepper_file=pepper),
            Health("history"),
        )
        client = httpx.AsyncClient(
            transport=httpx.ASGITransport(app, raise_app_exceptions=False),
            base_url="http://history",
        )
        yield Api(client, runner.get_loop(), keys)
        runner.run(client.aclose())
        runner.run(app.state.engine.dispose())
    postgres.drop_database(database_url)


def signal(name: str, kind: ValueType = ValueType.DOUBLE, owner: str = "acme") -> Signal:
    """A signal of a unit of an owner's line."""
    unit = f"{owner}/site/area/line-1/saw"
    return Signal(f"{owner}-{name}", f"{owner}-saw", f"{unit}/{name}", kind, "kW", f"{owner}-src")


def test_values_of_every_type_come_back_as_they_were_sent(api: Api) -> None:
    asked = api.get("samples", signal="acme-mixed", from_=_iso(0), to=_iso(60))
    assert asked.status_code == 200
    shown = [(each["type"], each["value"], each["quality"]) for each in asked.json()["samples"]]
    assert shown == [
        ("double", 0.1, "good"),
        ("int64", -5, "uncertain"),
        ("int64", "9223372036854775807", "good"),
        ("uint64", "18446744073709551615", "good"),
        ("int64", 2**53, "good"),
        ("bool", True, "good"),
        ("text", "läuft", "good"),
        ("bytes", "AAH/", "good"),
        ("json", "[1, 2.50]", "good"),
        ("null", None, "bad"),
    ]
    first = asked.json()["samples"][0]
    assert first["time"] == first["source_time"] == "2026-11-20T10:00:00Z"
    assert first["gateway_time"] == "2026-11-20T10:00:00.005000Z"
    assert first["server_time"] is None


def test_csv_has_the_same_rows(api: Api) -> None:
    json_rows = api.get("samples", signal="acme-mixed", from_=_iso(0), to=_iso(60)).json()[
        "samples"
    ]
    for answer in (
        api.get("samples", signal="acme-mixed", from_=_iso(0), to=_iso(60), format="csv"),
        api.get("samples", signal="acme-mixed", from_=_iso(0), to=_iso(60), accept="text/csv"),
    ):
        assert answer.headers["content-type"].startswith("text/csv")
        rows = list(csv.DictReader(io.StringIO(answer.text)))
        assert [row["time"] for row in rows] == [row["time"] for row in json_rows]
        assert rows[5]["value"] == "true" and rows[6]["value"] == "läuft"


@pytest.mark.parametrize(
    ("seconds", "points", "read_from"),
    [(600, 100, "raw"), (7200, 50, "minutes"), (86400, 20, "hours")],
)
def test_buckets_are_exact_whatever_they_are_read_from(
    api: Api, seconds: int, points: int, read_from: str
) -> None:
    body = api.get(
        "samples", signal="acme-power", from_=_iso(0), to=_iso(seconds), points=points
    ).json()
    assert body["read_from"] == read_from
    buckets = body["buckets"]
    assert 0 < len(buckets) <= points
    values = _power()[: min(seconds, 7200)]
    assert sum(each["count"] for each in buckets) == len(values)
    assert min(each["min"] for each in buckets) == values.min()
    assert max(each["max"] for each in buckets) == values.max()
    assert sum(each["mean"] * each["count"] for each in buckets) == pytest.approx(values.sum())
    assert (buckets[0]["first"], buckets[-1]["last"]) == (values[0], values[-1])
    width = body["bucket_s"]
    for each in buckets:
        since = max(int((datetime.fromisoformat(each["time"]) - START).total_seconds()), 0)
        until = int((datetime.fromisoformat(each["time"]) - START).total_seconds() + width)
        part = values[since:until]
        assert (each["count"], each["min"], each["max"]) == (len(part), part.min(), part.max())
        assert (each["first"], each["last"]) == (part[0], part[-1])


def test_latest_gives_a_whole_line_at_once_and_no_historical_value(api: Api) -> None:
    values = api.get("latest", path=LINE).json()["values"]
    assert [each["signal"]["name"] for each in values] == ["mixed", "none", "power", "words"]
    by_name = {each["signal"]["name"]: each["latest"] for each in values}
    assert by_name["none"] is None
    assert by_name["power"]["value"] == _power()[-1]
    assert by_name["words"]["value"] == "word 1999"
    assert api.get("latest", path="acme/site/area/line").json()["values"] == []
    named = api.get("latest", signal=["acme-power", "rival-secret"]).json()["values"]
    assert [each["signal"]["id"] for each in named] == ["acme-power"]


@pytest.mark.parametrize("points", [2, 3, 4, 5])
def test_texts_that_share_a_time_are_all_reached(api: Api, points: int) -> None:
    place: dict[str, object] = {"from_": _iso(0)}
    seen: list[str] = []
    for _ in range(10):
        page = api.get(
            "samples", "rival", signal="rival-same", to=_iso(60), points=points, **place
        ).json()
        assert 0 < len(page["samples"]) <= points
        seen += [each["value"] for each in page["samples"]]
        if "next" not in page:
            break
        after = {"from_": page["next"], **({"skip": page["skip"]} if "skip" in page else {})}
        assert after != place
        place = after
    assert seen == ["a", "b1", "b2", "b3", "b4", "c", "d"]


def test_a_list_of_signals_that_is_cut_says_where_to_go_on(api: Api) -> None:
    whole = [each["signal"]["id"] for each in api.get("latest", path="acme").json()["values"]]
    seen: list[str] = []
    place: dict[str, object] = {}
    for _ in range(10):
        page = api.get("latest", path="acme", limit=3, **place).json()
        seen += [each["signal"]["id"] for each in page["values"]]
        if page["next"] is None:
            break
        place = {"after": page["next"]}
    assert seen == whole and len(whole) == 4
    assert api.get("latest", path="acme", after="x").status_code == 422
    assert api.get("latest", path="acme").json()["next"] is None


def test_texts_come_page_by_page(api: Api) -> None:
    start, seen = _iso(0), []
    for _ in range(20):
        body = api.get(
            "samples", signal="acme-words", from_=start, to=_iso(7200), points=300
        ).json()
        seen += [each["value"] for each in body["samples"]]
        if "next" not in body:
            break
        start = body["next"]
    assert seen == [f"word {n}" for n in range(2000)]


def test_a_key_sees_only_what_its_owner_has(api: Api) -> None:
    assert api.get("samples", signal="rival-secret").status_code == 404
    assert (
        api.get(
            "samples", signal="rival-secret", who="rival", from_=_iso(0), to=_iso(9)
        ).status_code
        == 200
    )
    assert (
        api.get("samples", signal="rival-secret", who="*", from_=_iso(0), to=_iso(9)).status_code
        == 200
    )
    assert api.get("latest", path="rival").json()["values"] == []
    assert api.get("assets", path="").json()["assets"] == []
    assert [each["owner"] for each in api.get("assets", who="rival").json()["assets"]] == ["rival"]
    for route, name in (("ledger", "rows"), ("gaps", "gaps"), ("rejected", "rejected")):
        mine = api.get(route, from_=_iso(-1), to=_iso(7200)).json()[name]
        assert {each["owner"] for each in mine} == {"acme"}, route
        all_rows = api.get(route, who="*", from_=_iso(-1), to=_iso(7200)).json()[name]
        assert {each["owner"] for each in all_rows} == {"acme", "rival"}, route
    row = api.get("ledger", from_=_iso(0), to=_iso(60)).json()["rows"][0]
    assert (row["received"], row["stored"], row["in_flight"]) == (10, 5, 3)


def test_who_has_no_key_or_no_scope_is_told_so(api: Api) -> None:
    for who, status in (("", 401), ("no scope", 403)):
        answer = api.get("latest", who=who, path=LINE)
        assert answer.status_code == status
        assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("route", "params", "field"),
    [
        ("samples", {"signal": "acme-power", "points": 1}, "points"),
        ("samples", {"signal": "acme-power", "points": 10_001}, "points"),
        ("samples", {"signal": "acme-power", "points": "many"}, "points"),
        ("samples", {"signal": "acme-power", "from_": "yesterday"}, "from"),
        ("samples", {"signal": "acme-power", "from_": "2026-11-20T10:00:00"}, "from"),
        (
            "samples",
            {"signal": "acme-power", "from_": "2026-11-20T10:00:00Z", "to": "2026-11-20T10:00:00Z"},
            "to",
        ),
        ("samples", {"signal": "acme-power", "to": "0001-01-01T00:00:00+05:00"}, "to"),
        ("samples", {"signal": "a\0b"}, "signal"),
        ("samples", {}, "signal"),
        ("samples", {"signal": "acme-power", "format": "xml"}, "format"),
        ("latest", {}, "path"),
        ("latest", {"path": LINE, "signal": "x"}, "path"),
        ("rejected", {"limit": 0}, "limit"),
        ("rejected", {"before": 2**63}, "before"),
        ("gaps", {"source": "\0"}, "source"),
    ],
)
def test_bad_parameters_are_problems_that_name_the_field(
    api: Api, route: str, params: dict[str, object], field: str
) -> None:
    answer = api.get(route, **params)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert body["status"] == 422 and body["errors"][0]["field"] == field


@settings(max_examples=60, deadline=None)
@given(
    route=st.sampled_from(["samples", "latest", "assets", "ledger", "gaps", "rejected"]),
    params=st.dictionaries(
        st.sampled_from(
            [
                "signal",
                "path",
                "from_",
                "to",
                "points",
                "format",
                "source",
                "line",
                "before",
                "limit",
            ]
        ),
        st.one_of(
            st.text(max_size=20),
            st.integers(),
            st.datetimes(timezones=st.just(UTC)).map(lambda t: t.isoformat()),
            st.sampled_from(["acme-power", LINE, "%", "_", "acme-words"]),
        ),
        max_size=6,
    ),
)
def test_no_parameters_make_it_fail(api: Api, route: str, params: dict[str, object]) -> None:
    answer = api.get(route, **params)
    assert answer.status_code in (200, 404, 422), answer.text
    if answer.headers["content-type"].endswith("json"):
        json.loads(answer.text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def _iso(seconds: float) -> str:
    return (START + timedelta(seconds=seconds)).isoformat()


def _power() -> np.ndarray:
    return np.random.default_rng(3).normal(10, 2, 7200)


def _sample(
    of: Signal, value: object, n: float, kind: ValueType | None = None, **more: object
) -> Sample:
    time = START_US + int(n * 1_000_000)
    return Sample(of, value, of.type if kind is None else kind, time, time + 5000, **more)  # type: ignore[arg-type]


async def _fill(url: str) -> None:
    mixed, power, words = signal("mixed"), signal("power"), signal("words", ValueType.TEXT)
    samples = [
        _sample(mixed, 0.1, 0),
        _sample(mixed, -5, 1, ValueType.INT64, status=0x40000000),
        _sample(mixed, 2**63 - 1, 2, ValueType.INT64),
        _sample(mixed, 2**64 - 1, 3, ValueType.UINT64),
        _sample(mixed, 2**53, 4, ValueType.INT64),
        _sample(mixed, True, 5, ValueType.BOOL),
        _sample(mixed, "läuft", 6, ValueType.TEXT),
        _sample(mixed, b"\x00\x01\xff", 7, ValueType.BYTES),
        _sample(mixed, "[1, 2.50]", 8, ValueType.JSON),
        _sample(mixed, None, 9, ValueType.NULL, status=BAD),
        *(_sample(power, float(value), n) for n, value in enumerate(_power())),
        *(_sample(words, f"word {n}", n) for n in range(2000)),
    ]
    late = [_sample(power, 1e6, 90_000, flags=Flag.HISTORICAL)]
    secret = [_sample(signal("secret", owner="rival"), 42.0, 0)]
    same = signal("same", ValueType.TEXT, owner="rival")
    at = (("a", 0, 0), *((f"b{n}", 1, n) for n in range(1, 5)), ("c", 2, 0), ("d", 3, 0))
    secret += [replace(_sample(same, text, second), sub=sub) for text, second, sub in at]
    none = [_sample(signal("none"), 1.0, 0)]
    async with await connect(as_role(url, "historian"), autocommit=True) as conn:
        await open_session(conn)
        catalog = Catalog()
        for owner, part in (("acme", samples + late), ("rival", secret), ("acme", none)):
            batch = make_batch(part, owner=owner, gateway="g", boot=1, sequence=1, line=LINE)
            [keys] = await catalog.signal_keys(conn, [batch])
            if part is none:
                continue
            prepared = encode_columns(make_columns([(batch, keys)], START_US))
            async with conn.transaction():
                rows = prepared.columns
                await insert_rows(conn, "sample_number", rows.numbers, rows.shared_numbers)
                await insert_rows(conn, "sample_text", rows.texts, rows.shared_texts)
                await insert_rows(conn, "sample_other", rows.others, rows.shared_others)
                await merge_rollups(conn, prepared.minutes, prepared.hours)
        for owner in ("acme", "rival"):
            await conn.execute(
                "INSERT INTO historian.ledger_received VALUES ('g', 1, %s, %s, %s, 10, 0, 0, 0)",
                (owner, START, owner),
            )
            await conn.execute(
                "INSERT INTO historian.ledger_stored VALUES (%s, %s, %s, 5, 1, 1)",
                (owner, START, owner),
            )
            await conn.execute(
                "INSERT INTO historian.gap VALUES (gen_random_uuid(), %s, 'src', '', %s, %s, 1, "
                "'why', false, now())",
                (owner, START, START),
            )
            await conn.execute(
                "INSERT INTO historian.rejected (owner, gateway, source, received_at, "
                "error_class, reason, origin, payload, "
                'payload_size, payload_sha256, samples, log_id, topic, partition, "offset", '
                "fingerprint) "
                "VALUES (%s, 'g', 'src', now(), 'type', 'why', 'o', 'x', 1, 'h', 1, 'l', 't', 0, "
                "0, %s)",
                (owner, owner),
            )
        await conn.execute(
            "INSERT INTO historian.asset VALUES ('rival-saw', 'rival', NULL, 'unit', 'saw', "
            "'rival/saw', '{}', now())"
        )
