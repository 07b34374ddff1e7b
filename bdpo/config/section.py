"""What every section of the settings is made of: strict models, and paths that know their YAML file."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationInfo, field_validator

Dtype = Literal["float32", "bfloat16"]


class LocatedStr(str):
    """A string that knows the folder of the YAML file it stands in."""

    folder: Path

    def __new__(cls, text: str, folder: Path) -> "LocatedStr":
        """`text`, found in a file of `folder`."""
        located = super().__new__(cls, text)
        located.folder = folder
        return located


def resolve_path(value: str | Path) -> Path:
    """A path against the YAML file it came from, else the working folder; `~` is the home folder.

    Raises:
        ValueError: it is none that a system takes, or begins with the home folder of an unknown user.
    """
    return _absolute(value).resolve()


def _absolute(value: str | Path) -> Path:
    folder = value.folder if isinstance(value, LocatedStr) else Path.cwd()
    try:
        return Path(folder, Path(value).expanduser())
    except RuntimeError:
        raise ValueError(f"{str(value)!r} begins with the home folder of a user who is not known here") from None


def _resolve(value: object) -> object:
    return resolve_path(value) if isinstance(value, (str, Path)) and str(value) else value


ConfigPath = Annotated[Path, BeforeValidator(_resolve)]
"""A path; a relative one is relative to the YAML file that names it, or to the
working folder when it comes from `--set`."""


def _resolve_data(value: object) -> object:
    """Resolve a path likewise, but for its last part."""
    if not isinstance(value, (str, Path)) or not str(value):
        return value
    path = _absolute(value)
    return path.resolve() if path.name in ("", "..") else path.parent.resolve() / path.name


DataPath = Annotated[Path, BeforeValidator(_resolve_data)]
"""Likewise, of a file whose kind its name tells: a link keeps its own, such as those of the hub's cache, which
point at files without one."""


def _resolve_model(value: object) -> object:
    """Resolve a model's folder likewise; a name of the hub stays."""
    if isinstance(value, LocatedStr):
        folder = resolve_path(value)
        if folder.is_dir() or value.startswith((".", "/", "~")):
            return str(folder)
    return value


ModelPath = Annotated[str, BeforeValidator(_resolve_model)]
"""A folder, relative to the YAML file that names it, or a hub name."""


class Section(BaseModel):
    """Immutable; an unknown key raises, and so does a number without end; a field's meaning is its docstring."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _true_is_no_number(cls, value: object, info: ValidationInfo) -> object:
        """Refuse what pydantic would count as 1 or 0."""
        kinds = list(_kinds(cls.model_fields[info.field_name or ""].annotation))
        given = value if isinstance(value, list) else [value]
        if bool not in kinds and (int in kinds or float in kinds) and any(isinstance(one, bool) for one in given):
            raise ValueError("a number is wanted, not true or false (which is how YAML reads yes, no, on and off)")
        return value


def _kinds(annotation: Any) -> Iterator[Any]:
    """A type and all that it is made of."""
    yield annotation
    for part in get_args(annotation):
        yield from _kinds(part)
