"""Rows of a dataset on the Hugging Face hub, streamed at the commit that the fingerprint names."""

import re
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

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
    from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError, RevisionNotFoundError

    try:
        commit = HfApi().dataset_info(name, revision=revision).sha
    except RevisionNotFoundError as error:
        raise UserError(f"hub {name!r}: the dataset has no revision {revision!r}.") from error
    except RepositoryNotFoundError as error:
        raise UserError(
            f"hub {name!r}: the hub has no such dataset, or it is private and needs the token of an account that may "
            "read it (HF_TOKEN)."
        ) from error
    except (HTTPError, HFValidationError, OSError) as error:
        raise UserError(
            f"hub {name!r}: the hub gave no commit for the revision {revision or 'main'!r} "
            f"({_reason(error)}); check the network, or download the dataset and give its `path`."
        ) from error
    assert commit is not None, "the hub describes a dataset without a commit"
    return commit


def hub_rows(
    name: str, *, revision: str | None, split: str, subset: str | None = None, data_dir: str | None = None
) -> Iterator[RawRow]:
    """Stream a dataset's rows in its own order, at the commit of its revision.

    Args:
        name: `owner/name` of a dataset.
        revision: branch, tag or commit; the main branch by default.
        split: which of its splits.
        subset: which of its configurations, its default one by default.
        data_dir: the folder of it that is read; all by default.

    Raises:
        UserError: as for `resolve_commit` and `stream_rows`, or a folder of that name lies here, which
            `datasets` would read in the hub's place.
    """
    if Path(name).exists():
        raise UserError(f"hub {name!r}: the working folder holds {name} too; give it as `path`, or work elsewhere.")
    commit = resolve_commit(name, revision)
    return stream_rows(name, commit=commit, split=split, subset=subset, data_dir=data_dir)


def stream_rows(
    location: str, *, commit: str | None, split: str, subset: str | None = None, data_dir: str | None = None
) -> Iterator[RawRow]:
    """Stream the rows of anything that `datasets` loads, numbered from 1.

    Args:
        location: a hub name or a folder.
        commit: of a hub name.
        split: which of its splits.
        subset: which of its configurations.
        data_dir: the folder in it that is read.

    Raises:
        UserError: it cannot be loaded, or has no such split, subset or folder.
    """
    import datasets
    import pyarrow as pa
    from httpx2 import HTTPError

    try:
        builder = datasets.load_dataset_builder(location, name=subset, data_dir=data_dir, revision=commit)
        if builder.name == "csv" and builder.config.features is None and builder.config.na_values is None:
            # As in a file here: an empty cell alone is a gap, and "None", "NA" or "null" an answer.
            builder.config.keep_default_na, builder.config.na_values = False, [""]
        rows = builder.as_streaming_dataset(split=split)
        if rows.features is not None:
            # `decode` undoes what `load_dataset` decodes ahead, and turns off JSON with it, which is wanted.
            rows = rows.decode(False).cast(datasets.Features(_undecoded(rows.features)))
        for line, row in enumerate(rows, start=1):
            yield RawRow(location, line, dump_row(row), row)
    except (HTTPError, OSError, ValueError, TypeError, RuntimeError, pa.ArrowException) as error:
        blamed = {RuntimeError: "Dataset scripts", TypeError: "Couldn't cast"}
        if any(isinstance(error, kind) and words not in str(error) for kind, words in blamed.items()):
            raise  # of no other is it known that the dataset is to blame
        if "gated dataset" in str(error):  # `datasets` keeps nothing else of what the hub said
            raise UserError(
                f"hub {location!r}: the dataset is gated; accept its terms at "
                f"https://huggingface.co/datasets/{location} and set HF_TOKEN to a token of that account."
            ) from error
        which = {"split": split, "subset": subset, "data_dir": data_dir}
        named = ", ".join(f"{name} {value!r}" for name, value in which.items() if value is not None)
        raise UserError(f"hub {location!r}, {named}: the dataset cannot be read: {_reason(error)}.") from error


def _undecoded(features: Any) -> Any:
    """Features of a dataset, or a part of them, whose pictures and sounds stay the bytes that they are.

    Decoding them takes libraries that are not there, and gives objects that print another address in each run.
    """
    import datasets

    if isinstance(features, dict):
        return {name: _undecoded(feature) for name, feature in features.items()}
    if isinstance(features, (datasets.List, datasets.LargeList)):
        return replace(features, feature=_undecoded(features.feature))
    if hasattr(features, "decode") and not isinstance(features, datasets.Json):
        return replace(features, decode=False)
    return features


def _reason(error: Exception) -> str:
    """What a library says, on one line and without its advice on code."""
    said = " ".join(str(error).partition("Example of usage:")[0].split())
    return (said or type(error).__name__).rstrip(".")
