"""What the own tasks of a user for lm-eval consist of: YAML files, the Python beside them, and their data."""

import glob
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from bdpo.artifacts.digest import digest_file, digest_value
from bdpo.errors import UserError, first_line

_OF_DATA = ("dataset_path", "dataset_kwargs")
"""Fields of a task that may name files and folders of data."""


class _Loader(yaml.SafeLoader):
    """YAML in which `!function utils.score` is a text: what it names is lm-eval's to run."""


_Loader.add_multi_constructor("!", lambda loader, _, node: str(getattr(node, "value", "")))


def digest_tasks(include: Sequence[Path]) -> list[str]:
    """A digest of each task: of the names and contents of all files that its figures follow from.

    These are the YAML file, those that it includes, the Python files beside them, where `!function` looks, and
    the local data that they name.

    Args:
        include: YAML files of tasks.

    Raises:
        UserError: one of the files is missing, cannot be read or is no YAML.
    """
    return [_digest_task(place, path) for place, path in enumerate(include)]


def _digest_task(place: int, path: Path) -> str:
    field = f"evaluate.lm_eval.include.{place}"
    try:
        files = sorted(set(_task_files(path, [])), key=lambda file: (file.name, str(file)))
        return f"sha256:{digest_value([[file.name, digest_file(file)] for file in files])}"
    except FileNotFoundError as error:
        raise UserError(f"field `{field}`: there is no file {error.filename}.") from None
    except OSError as error:
        raise UserError(f"field `{field}`: {error.filename} cannot be read: {error.strerror}.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"field `{field}`: {path} is no task of lm-eval: {first_line(error)}.") from error


def _task_files(path: Path, above: list[Path]) -> Iterator[Path]:
    path = path.resolve()
    if path in above:
        return  # lm-eval has a word for files that include each other
    yield path
    yield from path.parent.glob("*.py")
    task = yaml.load(path.read_text(encoding="utf-8"), _Loader)  # noqa: S506 - a SafeLoader
    if not isinstance(task, dict):
        return
    for field in _OF_DATA:
        yield from _data_files(task.get(field))
    included = task.get("include")
    for name in [included] if isinstance(included, str) else included or []:
        yield from _task_files(path.parent / str(name), [*above, path])


def _data_files(value: Any) -> Iterator[Path]:
    """Local files that a setting names, by themselves, by a folder or by a pattern; from where the run is started."""
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _data_files(item)
    elif isinstance(value, str) and value:
        for found in map(Path, [value] if Path(value).exists() else glob.glob(value, recursive=True)):  # noqa: PTH207
            inside = found.rglob("*") if found.is_dir() else [found]
            yield from (file.resolve() for file in inside if file.is_file())
