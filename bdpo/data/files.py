"""Which data files a path stands for, and of what kind each is."""

import json
import os
from pathlib import Path
from typing import NamedTuple

from bdpo.data.rows import is_unicode
from bdpo.errors import UserError

KINDS = (".jsonl", ".json", ".csv", ".parquet", ".arrow")
COMPRESSED_KINDS = (".jsonl", ".json", ".csv")
COMPRESSIONS = (".gz", ".zst")
READABLE = f"{', '.join(KINDS)}, or one of {', '.join(COMPRESSED_KINDS)} with {' or '.join(COMPRESSIONS)} after it"


class DataFile(NamedTuple):
    """A file that rows are read from."""

    path: Path
    name: str
    """What its rows are named by: relative to the folder that the user gave, or where the glob starts."""


def data_files(path: Path) -> list[DataFile]:
    """The files that a path stands for, sorted by name.

    Args:
        path: a file; a folder, which stands for all files in it but hidden ones, or, where `Dataset.save_to_disk`
            wrote it, for those of its rows; or a glob such as `data/*.jsonl` or `data/**/*.parquet`.

    Raises:
        UserError: there is none, or one of them is of a kind that cannot be read.
    """
    if path.is_dir():
        return _folder(path)
    root, pattern = _split_glob(path)
    if path.exists() or not pattern:
        if not path.exists():
            link = f"; it is a link to {path.readlink()}" if path.is_symlink() else ""
            raise UserError(f"{path}: there is no such data file{link}.")
        files = [DataFile(path, path.name)]
    else:
        found = sorted(match for match in root.glob(pattern) if not match.is_dir())
        files = [DataFile(match, match.relative_to(root).as_posix()) for match in found]
        files = [file for file in files if not _is_hidden(file.name)]
        if not files:
            raise UserError(f"{path}: no file matches this pattern.")
    for file in files:
        _require_file(file.path)
        kind_of(file.path)
    return files


def without_kind(name: str) -> str:
    """A data file's name without what tells its kind and compression: `v1.0/hh.train` of `v1.0/hh.train.jsonl.gz`."""
    path = Path(name)
    if path.suffix.lower() in COMPRESSIONS:
        path = path.with_suffix("")
    return path.with_suffix("").as_posix()


def kind_of(path: Path) -> tuple[str, str]:
    """A data file's kind and compression, such as (".jsonl", ".gz"), by its name.

    Raises:
        UserError: files of this kind cannot be read.
    """
    compression = path.suffix.lower() if path.suffix.lower() in COMPRESSIONS else ""
    kind = (path.with_suffix("") if compression else path).suffix.lower()
    if kind not in (COMPRESSED_KINDS if compression else KINDS):
        raise UserError(f"{path}: unknown kind of file {kind + compression!r}; it can be {READABLE}.")
    return kind, compression


def _folder(path: Path) -> list[DataFile]:
    saved = _saved_files(path)
    if saved is not None:
        return saved
    inside = sorted(entry for entry in path.iterdir() if not _is_hidden(entry.name))
    if not inside:
        raise UserError(f"{path}: the folder is empty; it should hold data files ({READABLE}).")
    for entry in inside:
        if entry.is_dir():
            raise UserError(
                f"{path}: the folder holds another folder, {entry.name}; name the files that are meant with a "
                f"pattern such as {path / '**' / '*.jsonl'}."
            )
        _require_file(entry)
        try:
            kind_of(entry)
        except UserError:
            raise UserError(
                f"{path}: the folder holds {entry.name}, which is no data file ({READABLE}); name the files that "
                f"are meant with a pattern such as {path / '*.jsonl'}."
            ) from None
    return [DataFile(entry, entry.name) for entry in inside]


def _saved_files(path: Path) -> list[DataFile] | None:
    """The files of a data set as `datasets` saves one to disk, beside JSON that holds no rows; None: it is none."""
    state = path / "state.json"
    if not (state.is_file() and (path / "dataset_info.json").is_file()):
        return None
    try:
        listed = json.loads(state.read_bytes())["_data_files"]
        names = [str(file["filename"]) for file in listed]
    except (ValueError, LookupError, TypeError):
        return None
    for name in names:
        if Path(name).name != name or not (path / name).is_file():
            raise UserError(f"{state}: it names {name!r}, which is no file of the folder; save the data set again.")
    if not names:
        raise UserError(f"{state}: it names no files: the data set that was saved is empty.")
    files = [DataFile(path / name, name) for name in names]
    for file in files:
        kind_of(file.path)
    return files


def _require_file(path: Path) -> None:
    """Refuse what would be read without an end or not at all.

    Raises:
        UserError: it is a pipe, a device, or a link to nothing, or no text can hold its name.
    """
    if not is_unicode(str(path)):
        shown = os.fsencode(path).decode(errors="replace")
        raise UserError(f"{shown}: the name of this file is not UTF-8; rename it.")
    if not path.is_file():
        what = f"a link to {path.readlink()}, which is not there" if path.is_symlink() else "no regular file"
        raise UserError(f"{path}: this is {what}; remove it, or name the files that are meant.")


def _split_glob(path: Path) -> tuple[Path, str]:
    """The folder before the first part that is a pattern, and the pattern; an empty one where there is none.

    What is there by that very name is no pattern.
    """
    for i, part in enumerate(path.parts):
        if any(character in part for character in "*?[") and not Path(*path.parts[: i + 1]).exists():
            return Path(*path.parts[:i]), str(Path(*path.parts[i:]))
    return path, ""


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") for part in Path(name).parts)
