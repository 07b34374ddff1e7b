"""YAML to plain values and the place of each: nothing builds objects, no key stands twice, no alias multiplies."""

import re
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from bdpo.config.section import LocatedStr
from bdpo.errors import UserError

Location = tuple[str | int, ...]
"""The keys and indices that lead to a value."""
Origins = dict[Location, str]
"""Where each value was written: its location to `file:line`, or to the `--set` that gave it."""

_MOST_VALUES = 10_000
"""A hundred times what a long config holds; a few aliases of aliases stand for more than any memory takes."""
_NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
_OTHER_BASE = re.compile(r"[-+]?0[0-7_]+|.*:.*")
"""Numbers that YAML 1.1 takes for others than people mean: `0100` for 64, `1:30` for 90."""
_PLAIN_TAGS = frozenset(
    f"tag:yaml.org,2002:{kind}" for kind in ("map", "seq", "str", "int", "float", "bool", "null", "timestamp")
)
"""What YAML gives to values that are written without a tag."""


class Document(NamedTuple):
    """A YAML text and where it comes from."""

    name: str
    """What messages call it."""
    text: str
    folder: Path
    """What a path in it is relative to."""
    is_file: bool = True
    """Whether its lines have numbers that help."""

    def place(self, mark: yaml.Mark) -> str:
        """Name and line of a mark."""
        return f"{self.name}:{mark.line + 1}" if self.is_file else self.name


def read_document(document: Document, at: Location = ()) -> tuple[Any, Origins]:
    """The value of a document, and where each part of it stands.

    Args:
        document: the text; an empty one is None.
        at: where in the settings its value goes.

    Raises:
        UserError: it is not YAML, too deep or too large, or holds what a config may not.
    """
    reader = _Reader(document)
    try:
        node = yaml.compose(document.text, Loader=yaml.SafeLoader)
        value = None if node is None else reader.value(node, at)
    except yaml.YAMLError as error:
        raise UserError(f"{document.name}: not valid YAML: {' '.join(str(error).split())}.") from None
    except RecursionError:
        raise UserError(f"{document.name}: the YAML is nested too deeply for any config.") from None
    return value, reader.origins


def dotted(location: Location) -> str:
    """A field's name on one line, whatever characters it was given."""
    name = ".".join(str(part) for part in location)
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in name)


class _Reader:
    def __init__(self, document: Document) -> None:
        self._document = document
        self.origins: Origins = {}

    def value(self, node: yaml.Node, at: Location, above: tuple[yaml.Node, ...] = ()) -> Any:
        """The plain value of a node that stands in the nodes `above`."""
        place = self.origins[at] = self._document.place(node.start_mark)
        if len(self.origins) > _MOST_VALUES:
            raise UserError(
                f"{self._document.name}: the config holds more than {_MOST_VALUES:,} values, each use of a YAML alias "
                "counted; write out the few that are meant."
            )
        where = f"{place}: field `{dotted(at)}`"
        if any(node is outer for outer in above):
            raise UserError(f"{where}: the YAML alias holds itself; write out what is meant.")
        if node.tag not in _PLAIN_TAGS:
            raise UserError(f"{where}: the YAML tag {node.tag!r} is not allowed; remove it.")
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, at, (*above, node))
        if isinstance(node, yaml.SequenceNode):
            return [self.value(child, (*at, i), (*above, node)) for i, child in enumerate(node.value)]
        if node.tag in _NUMBERS and _OTHER_BASE.fullmatch(node.value):
            raise UserError(
                f"{where}: YAML reads {node.value!r} as a number in another base than ten; write it without the zero "
                "or colon, or in quotes if it is a word."
            )
        try:
            value = _scalar(node)
        except (ValueError, KeyError, AttributeError, yaml.YAMLError):
            # The loader's own ways to fail at a value that its tag, written or found, does not fit.
            kind = node.tag.rpartition(":")[2]
            raise UserError(f"{where}: {node.value!r} cannot be read as {kind}.") from None
        return LocatedStr(value, self._document.folder) if isinstance(value, str) else value

    def _mapping(self, node: yaml.MappingNode, at: Location, above: tuple[yaml.Node, ...]) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            place = self._document.place(key_node.start_mark)
            if not isinstance(key_node, yaml.ScalarNode):
                raise UserError(f"{place}: the name of a field is a word, not a YAML list or mapping.")
            key = str(key_node.value)
            if key in result:
                raise UserError(f"{place}: field `{dotted((*at, key))}` is given twice; keep one.")
            result[key] = self.value(value_node, (*at, key), above)
            self.origins[(*at, key)] = place
        return result


def _scalar(node: yaml.Node) -> Any:
    if node.tag == "tag:yaml.org,2002:str" and getattr(node, "style", None) is None:
        # YAML 1.1 reads `5e-7` as a string; numbers in configs are read as people mean them.
        try:
            return float(node.value) if node.value.lower().lstrip("+-")[:1].isdigit() else node.value
        except ValueError:
            return node.value
    loader = yaml.SafeLoader("")
    try:
        return loader.construct_object(node, deep=True)
    finally:
        loader.dispose()
