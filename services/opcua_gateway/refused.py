"""What a person is told of nodes that a server does not give; called by deliveries.py."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Mapping, Sequence

from aurelian.model.source_model import SourceModel
from opcua_gateway.mapping import BAD_NODE_ID_INVALID, BAD_NODE_ID_UNKNOWN, Tag
from opcua_gateway.session import status_name

log = logging.getLogger(__name__)


def next_step(model: SourceModel, status: int) -> str:
    """What to do about a node that the server refuses with this status."""
    step = "the others go on, it is tried again by itself"
    if status in (BAD_NODE_ID_UNKNOWN, BAD_NODE_ID_INVALID):
        # No filter: after a change there the name may be another one.
        browse = f"aurelian browse {shlex.quote(model.url)}"
        if model.user:
            browse += f" --user {shlex.quote(model.user)}"
        return f"is it called so there? `{browse}` shows what is there, with node ids; {step}"
    return f"look at that node at the server; {step}"


def say_refused(model: SourceModel, tags: Sequence[Tag], statuses: Mapping[int, int]) -> None:
    """Name the first of these nodes, given by handle, and what to do."""
    handle, status = next(iter(statuses.items()))
    tag, name = tags[handle], status_name(status)
    log.warning(
        "nodes are refused",
        extra={
            "fields": {
                "source": model.key,
                "count": len(statuses),
                "first": tag.signal.path,
                "address": tag.model.address,
                "status": f"{name} (0x{status:08X})",
                "next": next_step(model, status),
            }
        },
    )
