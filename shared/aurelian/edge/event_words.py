"""What a source event says, for people who try a mapping. Pure; used by the gateways' dry runs."""

from __future__ import annotations

from aurelian.model import codec


def said_of(event: codec.SourceEvent) -> str:
    """An event in words; empty: none are known."""
    match event.WhichOneof("kind"):
        case "birth":
            return f"born: {event.birth.detail}"
        case "death":
            return f"died: {event.death.reason}"
        case "gap":
            return f"gap: {event.gap.reason}"
        case "refused":
            return f"a value is refused: {event.refused.reason}"
        case other:
            return str(other or "")
