"""Signature, headers, retry schedule and the meaning of answers: the pure rules of webhooks."""

import base64
import random
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from partner_events.webhook import (
    RETRY_AFTER_S,
    Answer,
    Verdict,
    make_headers,
    make_secret,
    next_attempt_at,
    parse_retry_after,
    sign,
    throttle_s,
)

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
FAILED = Answer(500)


@given(st.text(), st.uuids())
def test_every_signature_verifies_with_the_standard_package(text: str, event_id: object) -> None:
    secret, now, body = make_secret(), datetime.now(UTC), text.encode("utf-8", "surrogatepass")
    try:
        body.decode()
    except UnicodeDecodeError:
        return
    headers = make_headers(secret, str(event_id), now, body)
    Webhook(secret).verify(body, headers, json_parse=False)
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(body + b" ", headers, json_parse=False)
    with pytest.raises(WebhookVerificationError):
        Webhook(make_secret()).verify(body, headers, json_parse=False)


def test_the_signature_is_that_of_the_specification() -> None:
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    at = datetime.fromtimestamp(1614265330, UTC)
    told = sign(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", at, b'{"test": 2432232314}')
    assert told == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    assert sign(secret, "m", at.astimezone(), b"") == sign(secret, "m", at, b"")


def test_a_secret_has_256_random_bits() -> None:
    secrets = {make_secret() for _ in range(100)}
    assert len(secrets) == 100
    assert all(
        len(base64.b64decode(s.removeprefix("whsec_"), validate=True)) == 32 for s in secrets
    )


def test_headers_keep_the_id_and_renew_the_timestamp() -> None:
    first = make_headers(make_secret(), "e-1", NOW, b"{}")
    second = make_headers(make_secret(), "e-1", NOW + timedelta(seconds=5), b"{}")
    assert first["webhook-id"] == second["webhook-id"] == "e-1"
    assert int(second["webhook-timestamp"]) - int(first["webhook-timestamp"]) == 5
    assert first["Content-Type"].startswith("application/cloudevents+json")


@given(st.integers(1, len(RETRY_AFTER_S) - 1), st.randoms(use_true_random=False))
def test_a_retry_waits_as_scheduled_within_the_jitter(made: int, rng: random.Random) -> None:
    at = next_attempt_at(made, FAILED, NOW, rng)
    assert at is not None
    assert 0.9 <= (at - NOW).total_seconds() / RETRY_AFTER_S[made] <= 1.1


def test_ten_attempts_take_about_75_hours_and_there_is_no_eleventh() -> None:
    assert len(RETRY_AFTER_S) == 10 and RETRY_AFTER_S[0] == 0
    assert sum(RETRY_AFTER_S) == pytest.approx(75.6 * 3600, rel=0.02)
    assert next_attempt_at(10, FAILED, NOW, random.Random(1)) is None


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_retry_after_of_a_busy_receiver_is_honoured(status: int) -> None:
    busy = Answer(status, retry_after_s=3600)
    assert next_attempt_at(1, busy, NOW, random.Random(1)) == NOW + timedelta(hours=1)
    assert throttle_s(busy) == 3600
    assert throttle_s(Answer(status, retry_after_s=1e9)) == 86400
    assert throttle_s(Answer(status, retry_after_s=-5)) == 0


def test_retry_after_of_another_answer_is_not() -> None:
    assert throttle_s(Answer(500, retry_after_s=3600)) == 0
    assert throttle_s(Answer(429)) == 0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("120", 120.0),
        ("Wed, 25 Nov 2026 12:01:00 GMT", 60.0),
        ("Wed, 25 Nov 2026 11:59:00 GMT", -60.0),
        ("", None),
        ("soon", None),
        ("-1", None),
        ("1e9", None),
        ("٣", None),
        ("9" * 40, None),
    ],
)
def test_retry_after_is_seconds_or_a_date(text: str, seconds: float | None) -> None:
    assert parse_retry_after({"retry-after": text}, NOW) == seconds


@pytest.mark.parametrize(
    ("status", "verdict", "words"),
    [
        (200, Verdict.DELIVERED, "delivered"),
        (204, Verdict.DELIVERED, "delivered"),
        (301, Verdict.FAILED, "redirects are not followed"),
        (307, Verdict.FAILED, "redirects are not followed"),
        (401, Verdict.FAILED, "HTTP 401"),
        (410, Verdict.GONE, "410"),
        (500, Verdict.FAILED, "HTTP 500"),
        (None, Verdict.FAILED, "no answer within 15 s"),
    ],
)
def test_an_answer_means_what_the_specification_says(
    status: int | None, verdict: Verdict, words: str
) -> None:
    answer = Answer(status, "no answer within 15 s" if status is None else "")
    assert answer.verdict is verdict
    assert words in answer.words
