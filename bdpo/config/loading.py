"""YAML to Config: `extends`, overrides, and errors that name file, key and remedy."""

import difflib
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, Tag, ValidationError

from bdpo.config.section import resolve_path
from bdpo.config.settings import Config, MethodFieldsError
from bdpo.config.train import TrainSettings
from bdpo.config.yaml_values import Document, Location, Origins, dotted, read_document
from bdpo.errors import UserError

_INDEX = re.compile(r"[0-9]{1,9}")
"""A place in a list, in a dotted key."""
_MAY_HOLD_SECRET = re.compile(r"://\S*[@?#]")
"""An address with a user, a query or a fragment in it."""


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
    try:
        resolved = path.expanduser().resolve()
        text = "" if resolved in seen else resolved.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such config file.") from None
    except IsADirectoryError:
        raise UserError(f"{path} is a folder; a config is a YAML file.") from None
    except (OSError, RuntimeError, ValueError) as error:
        # RuntimeError: the home folder of nobody; ValueError: a path that no system takes, or bytes that are no text.
        raise UserError(f"{path}: the config cannot be read: {error}.") from None
    if resolved in seen:
        chain = " -> ".join(str(p) for p in (*seen, resolved))
        raise UserError(f"{seen[-1]}: field `extends`: the files extend each other in a circle: {chain}.")
    data, own = read_document(Document(str(resolved), text, resolved.parent))
    if not isinstance(data, dict):
        raise UserError(f"{path}: a config is a YAML mapping of keys to values, such as `name: my-run`.")
    parent = data.pop("extends", None)
    if parent is None:
        origins.update(own)
        return data
    if not isinstance(parent, str):
        raise UserError(f"{path}: field `extends`: {parent!r} is not a file name.")
    try:
        base_path = resolve_path(parent)
    except ValueError as error:
        raise UserError(f"{path}: field `extends`: {error}.") from None
    base = _read(base_path, origins, (*seen, resolved))
    origins.update(own)
    return _merge(base, data)


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
    name = f"--set {key if _MAY_HOLD_SECRET.search(text) else override!r}"
    holder, location = _holder(data, key.split("."), name)
    value, own = read_document(Document(name, text, Path.cwd(), is_file=False), location)
    holder[location[-1]] = value
    origins.update({location: name} | own)


def _holder(data: dict[str, Any], parts: Sequence[str], name: str) -> tuple[Any, Location]:
    """The section or list that holds a field, made where it is missing, and the field's location."""
    holder: Any = None
    target: Any = data
    location: Location = ()
    for part in parts:
        if target is None:
            target = holder[location[-1]] = {}
        holder = target
        if isinstance(holder, list):
            if not _INDEX.fullmatch(part) or int(part) >= len(holder):
                right = f"an index from 0 to {len(holder) - 1} instead of {part!r}" if holder else "the whole list"
                raise UserError(f"{name}: `{dotted(location)}` is a list of {len(holder)}; write {right}.")
            location, target = (*location, int(part)), holder[int(part)]
        elif isinstance(holder, dict):
            location, target = (*location, part), holder.get(part)
        else:
            raise UserError(f"{name}: `{dotted(location)}` holds a value, not a section.")
    return holder, location


def _explain(
    error: ValidationError, path: Path, origins: Origins, model: type[BaseModel] = Config, above: Location = ()
) -> str:
    """One sentence for the first thing that is wrong, and how many more there are.

    Unknown fields come first: a field that has no default is often missing because it is misspelled.

    Args:
        error: what pydantic says.
        path: the config.
        origins: where its values stand.
        model: the section that was checked.
        above: where it stands in the config.
    """
    # A default that follows from another field cannot be told where that one is wrong, which is an error already.
    errors = [one for one in error.errors() if one["type"] != "default_factory_not_called"]
    first = min(errors, key=lambda one: one["type"] != "extra_forbidden")
    cause = first.get("ctx", {}).get("error")
    if isinstance(cause, MethodFieldsError):
        return _explain(cause.error, path, origins, TrainSettings, cause.location)
    tagged = tuple(first["loc"])
    location = (*above, *(part for part in tagged if not _is_tag(part)))
    where = _origin(location, origins, path)
    key = dotted(location)
    if first["type"] == "extra_forbidden":
        allowed = _allowed(model, tagged[:-1])
        close = difflib.get_close_matches(str(location[-1]), allowed, n=1)
        hint = f"did you mean `{close[0]}`? " if close else ""
        sentence = f"unknown field `{key}`: {hint}Allowed here: {', '.join(allowed)}"
    elif first["type"] == "missing":
        sentence = f"field `{key}` is missing and has no default"
    elif first["type"] == "model_type":
        what = "is empty" if first["input"] is None else f"is {first['input']!r:.60}"
        sentence = f"`{key}` {what}, but fields belong there, such as `{_allowed(model, tagged)[0]}`; or leave it out"
    elif first["type"] == "value_error":
        reason = first["msg"].removeprefix("Value error, ")
        sentence = f"{f'field `{key}`: ' if key else ''}{reason}"
    else:
        quotes = ", in quotes" if first["type"] == "string_type" and isinstance(first["input"], (int, float)) else ""
        sentence = f"field `{key}`: the value {first['input']!r} is wrong: {_lower(first['msg'])}{quotes}"
    more = len(errors) - 1
    tail = f" ({more} more {'error' if more == 1 else 'errors'} in this config)" if more else ""
    return f"{where}: {sentence}.{tail}"


def _origin(location: Location, origins: Origins, path: Path) -> str:
    for end in range(len(location), 0, -1):
        if location[:end] in origins:
            return origins[location[:end]]
    return str(path)


def _allowed(section: type[BaseModel], location: Iterable[str | int]) -> list[str]:
    model: Any = section
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


def _lower(message: str) -> str:
    return message[:1].lower() + message[1:]
