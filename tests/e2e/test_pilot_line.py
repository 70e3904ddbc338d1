"""The pilot plant's OPC UA line in a stack that nobody prepared: encrypted, signed in, PackML."""

from __future__ import annotations

import psycopg

from aurelian.edge.applications import gateway_store, pilot_store
from aurelian.local import pilot_trust
from aurelian.model.machine_states import MachineState, read_state
from aurelian.model.sample import Flag
from tests.e2e.whole import Stack
from tests.waiting import until

_LIVE_STATES = """
SELECT s.path, n.value FROM historian.sample_text n JOIN historian.signal s ON s.key = n.signal
WHERE s.path LIKE 'pilot-a/north/machining/line-1/%%/state' AND n.flags & %s = 0 AND n.status = 0
"""


async def test_from_nothing_to_live_states_over_a_secured_channel_without_a_person(
    stack: Stack,
) -> None:
    with psycopg.connect(stack.database_url, autocommit=True) as connection:

        def live() -> dict[str, str]:
            return dict(connection.execute(_LIVE_STATES, (int(Flag.HISTORICAL),)).fetchall())

        await until(lambda: len(live()) == 4, "a live state of each machine", 60)
        assert all(isinstance(read_state("packml", each), MachineState) for each in live().values())
    # The plant file asks for Basic256Sha256 and a user, and a gateway never takes less.
    state = stack.home / "state"
    gateway, pilot = gateway_store(state / "opcua_gateway"), pilot_store(state / "pilot_factory")
    for one, other in ((gateway, pilot), (pilot, gateway)):
        (own,), (trusted,) = one.listed("own"), other.listed("trusted")
        assert own.sha256 == trusted.sha256
        assert one.listed("rejected") == []
    assert pilot_trust.password_file(stack.home).stat().st_mode & 0o777 == 0o600
