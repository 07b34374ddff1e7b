"""Rows of a dataset on the Hugging Face hub, streamed at the commit that the fingerprint names."""

import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from bdpo.data.blocks import dump_row
from bdpo.data.rows import RawRow
from bdpo.errors import UserError

_COMMIT = re.compile(r"[0-9a-f]{40}")


@lru_cache(maxsize=256)
def resolve_commit(name: str, revision: str | None) -> str:
    """The commit that a branch or tag stands for; a commit stands for itself and needs no network.

    Within one process a name is asked for once, so that what is read is what was fingerprinted.

    Args:
        name: `owner/name` of a dataset.
        revision: branch, tag or commit; the main branch by default.

    Raises:
        UserError: the hub cannot be reached, or has no such dataset or revision.
    """
    if revision is not None and _COMMIT.fullmatch(revision):
        return revision
    from httpx2 import HTTPError
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HFValidationError

    try:
        commit = HfApi().dataset_info(name, revision=revision).sha
    except (HTTPError, HFValidationError, OSError) as error:
        raise UserError(
            f"hub {name!r}: the hub gave no commit for the revision {revision or 'main'!r} "
            f"({_reason(error)}); check name, revision and network, or download the dataset and give its `path`."
        ) from error
    assert commit is not None, "the hub describes a dataset without a commit"
    return commit


def hub_rows(name: str, *, revision: str | None, split: str) -> Iterator[RawRow]:
    """Stream a dataset's rows in its own order, at the commit of its revision.

    Args:
        name: `owner/name` of a dataset.
        revision: branch, tag or commit; the main branch by default.
        split: which of its splits.

    Raises:
        UserError: as for `resolve_commit` and `stream_rows`, or a folder of that name lies here, which
            `datasets` would read in the hub's place.
    """
    if Path(name).exists():
        raise UserError(f"hub {name!r}: the working folder holds {name} too; give it as `path`, or work elsewhere.")
    return stream_rows(name, commit=resolve_commit(name, revision), split=split)


def stream_rows(location: str, *, commit: str | None, split: str) -> Iterator[RawRow]:
    """Stream the rows of anything that `datasets` loads, numbered from 1.

    Args:
        location: a hub name or a folder.
        commit: of a hub name.
        split: which of its splits.

    Raises:
        UserError: it cannot be loaded, or has no such split.
    """
    import datasets
    import pyarrow as pa
    from httpx2 import HTTPError

    try:
        rows = datasets.load_dataset(location, revision=commit, split=split, streaming=True)
        for line, row in enumerate(rows, start=1):
            yield RawRow(location, line, dump_row(row), row)
    except (HTTPError, OSError, ValueError, pa.ArrowException) as error:
        raise UserError(f"hub {location!r}, split {split!r}: the dataset cannot be read: {_reason(error)}.") from error


def _reason(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
