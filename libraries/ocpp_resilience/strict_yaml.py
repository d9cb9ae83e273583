"""YAML as the files of this library are written: safe, and no key stands twice, of which YAML would take the last."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import yaml

Step = str | int
"""A step from a mapping to a field, or from a list to an entry."""

_Fast: type[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _NoKeyTwice:
    """The rule, for a loader."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """The mapping, once every key was seen to be text and there only once."""
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(
                    problem="the name of a field has to be text", problem_mark=key.start_mark
                )
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    problem=f"field '{key.value}' occurs twice", problem_mark=key.start_mark
                )
            seen.add(key.value)
        found: dict[Any, Any] = super().construct_mapping(node, deep)  # type: ignore[misc]
        return found


class _FastLoader(_NoKeyTwice, _Fast):
    """With libyaml if available, which is several times as fast."""


class _ExplainingLoader(_NoKeyTwice, yaml.SafeLoader):
    """All in Python: its errors are the same on every machine, and say more."""


def parse(text: str) -> tuple[yaml.Node | None, Any]:
    """Parse a YAML text.

    Args:
        text: the text.

    Returns:
        Its root node, which knows the line of everything (`None` if there is nothing), and its data.

    Raises:
        yaml.YAMLError: it is no YAML, or a key occurs twice or is no text.
    """
    try:
        return _parse(_FastLoader(text))
    except yaml.YAMLError:
        return _parse(_ExplainingLoader(text))


def line_of(root: yaml.Node, steps: Sequence[Step]) -> int:
    """The line of a field, counted from 1, or of its nearest existing parent.

    Args:
        root: as `parse` returns it.
        steps: from the root to the field.
    """
    node, line = root, root.start_mark.line
    for step in steps:
        found = next((each for each in _children(node) if each[0] == step), None)
        if found is None:
            break
        _, line, node = found
    return int(line) + 1


def _children(node: yaml.Node) -> Iterator[tuple[Step, int, yaml.Node]]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield str(key.value), key.start_mark.line, value
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield index, value.start_mark.line, value


def _parse(loader: Any) -> tuple[yaml.Node | None, Any]:
    try:
        root = loader.get_single_node()
        return root, None if root is None else loader.construct_document(root)
    finally:
        loader.dispose()
