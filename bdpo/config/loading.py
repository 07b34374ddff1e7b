"""YAML to Config: `extends`, overrides, and errors that name file, key and remedy."""

import difflib
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, Tag, ValidationError

from bdpo.config.section import LocatedStr
from bdpo.config.settings import Config
from bdpo.errors import UserError

_INDEX = re.compile(r"[0-9]{1,9}")
"""A place in a list, in a dotted key."""
_PLAIN_TAGS = (
    "tag:yaml.org,2002:map",
    "tag:yaml.org,2002:seq",
    "tag:yaml.org,2002:str",
    "tag:yaml.org,2002:int",
    "tag:yaml.org,2002:float",
    "tag:yaml.org,2002:bool",
    "tag:yaml.org,2002:null",
    "tag:yaml.org,2002:timestamp",
)
"""What YAML gives to values that are written without a tag."""

Origins = dict[tuple[str | int, ...], str]
"""Where each key was written: path of keys -> `file:line` or `--set`."""


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Read, merge and check a config.

    Args:
        path: a YAML file; `extends:` names a file (relative to this one) whose values it overrides.
        overrides: `dotted.key=value` strings, the value in YAML; a list item is its index
            (`ingest.sources.0.limit=100`).

    Raises:
        UserError: the file is missing or not YAML, or a key or value is wrong.
    """
    origins: Origins = {}
    data = _read(Path(path), origins, seen=())
    for override in overrides:
        _override(data, override, origins)
    try:
        return Config.model_validate(data)
    except ValidationError as error:
        raise UserError(_explain(error, Path(path), origins)) from None


def _read(path: Path, origins: Origins, seen: tuple[Path, ...]) -> dict[str, Any]:
    resolved = path.expanduser().resolve()
    if resolved in seen:
        chain = " -> ".join(str(p) for p in (*seen, resolved))
        raise UserError(f"{seen[-1]}: field `extends`: the files extend each other in a circle: {chain}.")
    try:
        text = resolved.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such config file.") from None
    except IsADirectoryError:
        raise UserError(f"{path} is a folder; a config is a YAML file.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: the config cannot be read: {error}.") from None
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not valid YAML: {' '.join(str(error).split())}.") from None
    if not isinstance(node, yaml.MappingNode):
        raise UserError(f"{path}: a config is a YAML mapping of keys to values, such as `name: my-run`.")
    own: Origins = {}
    data: dict[str, Any] = _construct(node, resolved, (), own)
    parent = data.pop("extends", None)
    if parent is None:
        origins.update(own)
        return data
    if not isinstance(parent, str):
        raise UserError(f"{path}: field `extends`: {parent!r} is not a file name.")
    base = _read(Path(resolved.parent, parent), origins, (*seen, resolved))
    origins.update(own)
    return _merge(base, data)


def _construct(
    node: yaml.Node, file: Path, at: tuple[str | int, ...], origins: Origins, above: tuple[yaml.Node, ...] = ()
) -> Any:
    """Build plain values, noting where each stood and refusing a key given twice and an alias of what it stands in."""
    origins[at] = f"{file}:{node.start_mark.line + 1}"
    if any(node is outer for outer in above):
        raise UserError(f"{origins[at]}: field `{_dotted(at)}`: the YAML alias holds itself; write out what is meant.")
    if node.tag not in _PLAIN_TAGS:
        raise UserError(f"{origins[at]}: field `{_dotted(at)}`: the YAML tag {node.tag!r} is not allowed; remove it.")
    if isinstance(node, yaml.MappingNode):
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = str(key_node.value)
            if key in result:
                line = key_node.start_mark.line + 1
                raise UserError(f"{file}:{line}: field `{_dotted((*at, key))}` is given twice; keep one.")
            result[key] = _construct(value_node, file, (*at, key), origins, (*above, node))
            origins[(*at, key)] = f"{file}:{key_node.start_mark.line + 1}"
        return result
    if isinstance(node, yaml.SequenceNode):
        return [_construct(child, file, (*at, i), origins, (*above, node)) for i, child in enumerate(node.value)]
    try:
        value = _scalar(node)
    except (ValueError, KeyError, AttributeError, yaml.YAMLError):
        # The loader's own ways to fail at a value that its tag, written or found, does not fit.
        kind = node.tag.rpartition(":")[2]
        raise UserError(f"{origins[at]}: field `{_dotted(at)}`: {node.value!r} cannot be read as {kind}.") from None
    return LocatedStr(value, file.parent) if isinstance(value, str) else value


class _FloatLoader(yaml.SafeLoader):
    """YAML 1.1 reads `5e-7` as a string; numbers in configs are read as people mean them."""


def _scalar(node: yaml.Node) -> Any:
    if node.tag == "tag:yaml.org,2002:str" and getattr(node, "style", None) is None:
        try:
            return float(node.value) if node.value.lower().lstrip("+-")[:1].isdigit() else node.value
        except ValueError:
            return node.value
    loader = _FloatLoader("")
    try:
        return loader.construct_object(node, deep=True)
    finally:
        loader.dispose()


def _merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Mappings merge key by key; anything else, lists included, is replaced."""
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        merged[key] = _merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def _override(data: dict[str, Any], override: str, origins: Origins) -> None:
    key, separator, text = override.partition("=")
    if not separator or not key:
        raise UserError(f"--set {override!r}: write `dotted.key=value`, such as `train.beta=0.2`.")
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        value = None if node is None else _construct(node, Path.cwd() / "--set", (), {})
    except yaml.YAMLError:
        raise UserError(f"--set {override!r}: the value {text!r} is not valid YAML.") from None
    parts: list[str | int] = [int(part) if _INDEX.fullmatch(part) else part for part in key.split(".")]
    target: Any = data
    for i, part in enumerate(parts):
        last = i == len(parts) - 1
        if isinstance(target, list):
            if not isinstance(part, int) or part >= len(target):
                raise UserError(
                    f"--set {override!r}: `{_dotted(parts[:i])}` is a list of {len(target)}; "
                    f"write an index from 0 to {len(target) - 1} instead of {part!r}."
                )
        elif not isinstance(target, dict):
            raise UserError(f"--set {override!r}: `{_dotted(parts[:i])}` holds a value, not a section.")
        if last:
            target[part] = value
        else:
            if isinstance(target, dict) and target.get(str(part)) is None:
                target[str(part)] = {}
            target = target[part]
    origins[tuple(parts)] = f"--set {override!r}"


def _explain(error: ValidationError, path: Path, origins: Origins) -> str:
    """One sentence for the first thing that is wrong, and how many more there are."""
    first = error.errors()[0]
    tagged = tuple(first["loc"])
    location = tuple(part for part in tagged if not _is_tag(part))
    where = _origin(location, origins, path)
    key = _dotted(location)
    if first["type"] == "extra_forbidden":
        allowed = _allowed(tagged[:-1])
        close = difflib.get_close_matches(str(location[-1]), allowed, n=1)
        hint = f"did you mean `{close[0]}`? " if close else ""
        sentence = f"unknown field `{key}`: {hint}Allowed here: {', '.join(allowed)}"
    elif first["type"] == "missing":
        sentence = f"field `{key}` is missing and has no default"
    elif first["type"] == "value_error":
        reason = first["msg"].removeprefix("Value error, ")
        sentence = f"{f'field `{key}`: ' if key else ''}{reason}"
    else:
        sentence = f"field `{key}`: the value {first['input']!r} is wrong: {_lower(first['msg'])}"
    more = len(error.errors()) - 1
    tail = f" ({more} more {'error' if more == 1 else 'errors'} in this config)" if more else ""
    return f"{where}: {sentence}.{tail}"


def _origin(location: tuple[str | int, ...], origins: Origins, path: Path) -> str:
    for end in range(len(location), 0, -1):
        if location[:end] in origins:
            return origins[location[:end]]
    return str(path)


def _allowed(location: Iterable[str | int]) -> list[str]:
    model: Any = Config
    candidates: list[Any] = []
    for part in location:
        if isinstance(part, int):
            continue
        if _is_tag(part):  # one of several shapes: pydantic names the one that the value has
            model = next(get_args(c)[0] for c in candidates if Tag(str(part)) in getattr(c, "__metadata__", ()))
            continue
        annotation = model.model_fields[part].annotation
        candidates = [annotation, *get_args(annotation)]
        sections = [c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)]
        model = sections[0] if sections else None
    return sorted([*model.model_fields, *(["extends"] if model is Config else [])])


def _is_tag(part: str | int) -> bool:
    """Whether a part of a location is the tag of a union's member, as `settings` writes them: `(endpoint)`."""
    return isinstance(part, str) and part.startswith("(")


def _dotted(location: Iterable[str | int]) -> str:
    """A field's name on one line, whatever characters it was given."""
    name = ".".join(str(part) for part in location)
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in name)


def _lower(message: str) -> str:
    return message[:1].lower() + message[1:]
