"""YAML 1.2 to nodes, nodes to plain values, values to text; the only importer of the YAML library.

Version 1.2 on purpose: in 1.1, which PyYAML reads, a site named `no` is false and 010 is eight.
"""

from __future__ import annotations

import io

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

__all__ = [
    "MappingNode",
    "Node",
    "ScalarNode",
    "SequenceNode",
    "YAMLError",
    "describe_error",
    "read_yaml",
    "write_yaml",
]


def read_yaml(text: str) -> tuple[Node | None, object]:
    """Return the root node, which knows the lines, and the document as plain values; both None for
    an empty text. A key that stands twice is in the node twice and in the values once, the last.

    Raises:
        YAMLError: no YAML; `describe_error` says where and why.
    """
    yaml = _make_yaml()
    node: Node | None = yaml.compose(text)
    return node, None if node is None else yaml.constructor.construct_document(node)


def write_yaml(document: object) -> str:
    """Return a document of plain values as text, mappings in their own order."""
    yaml = _make_yaml()
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    yaml.width = 110
    out = io.StringIO()
    yaml.dump(document, out)
    return out.getvalue()


def describe_error(error: YAMLError) -> tuple[int | None, str]:
    """Return the line (from 1; None where it is not known) and the reason."""
    if not isinstance(error, MarkedYAMLError):
        return None, str(error)
    mark = error.problem_mark or error.context_mark
    reason = " ".join(part for part in (error.context, error.problem) if part)
    return None if mark is None else mark.line + 1, reason


def _make_yaml() -> YAML:
    yaml = YAML(typ="safe", pure=True)
    yaml.allow_duplicate_keys = True
    return yaml
