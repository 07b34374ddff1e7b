"""An ingest artifact as a data set that `datasets.load_dataset` and TRL read without us."""

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Self

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bdpo.artifacts.store import write_atomically
from bdpo.schemas import MESSAGE, PAIRS

FOLDER = "dataset"
_SPLITS = ("train", "validation")
_CONVERSATIONAL = pa.schema(
    [
        PAIRS.field("pair_id"),
        PAIRS.field("prompt"),
        pa.field("chosen", pa.list_(MESSAGE), nullable=False),
        pa.field("rejected", pa.list_(MESSAGE), nullable=False),
    ]
)
"""TRL's conversational preference rows; a response is a list of one message.

Nothing else, so that every column has one meaning to whoever trains on them; `pair_id` leads back to
`pairs.parquet`."""


class SplitFiles:
    """`dataset/train.parquet` and `dataset/validation.parquet`, written as pairs come; no file without a row."""

    def __init__(self, workdir: Path) -> None:
        self._folder = workdir / FOLDER
        self._writers: dict[str, pq.ParquetWriter] = {}
        self._open = ExitStack()

    def __enter__(self) -> Self:
        self._folder.mkdir(exist_ok=True)
        for left in self._folder.iterdir():
            left.unlink()
        return self

    def __exit__(self, *problem: object) -> None:
        self._open.close()

    def write(self, pairs: pa.Table) -> None:
        """Append rows of PAIRS, each to its split."""
        for split in _SPLITS:
            rows = pairs.filter(pc.equal(pairs["split"], split))
            if not rows.num_rows:
                continue
            if split not in self._writers:
                path = self._folder / f"{split}.parquet"
                writer = pq.ParquetWriter(path, _CONVERSATIONAL, compression="zstd")
                self._writers[split] = self._open.enter_context(writer)
            columns = [rows["pair_id"], rows["prompt"], _said(rows["chosen"]), _said(rows["rejected"])]
            self._writers[split].write_table(pa.Table.from_arrays(columns, schema=_CONVERSATIONAL))


def write_card(workdir: Path, by_split: Mapping[str, int], by_source: Mapping[str, int]) -> None:
    """Write `README.md`, whose header says which file is which split.

    Args:
        workdir: gets the file.
        by_split: pairs a split; one without pairs has no file.
        by_source: pairs a source.
    """
    splits = [split for split in _SPLITS if by_split.get(split)]
    files = "".join(f"  - split: {split}\n    path: {FOLDER}/{split}.parquet\n" for split in splits)
    counts = "".join(f"| {split} | {by_split[split]} |\n" for split in splits)
    # A source is named by whoever writes the config: keep it from being read as a table or as HTML.
    sources = ", ".join(f"`{name.translate(_PLAIN)}` ({count})" for name, count in sorted(by_source.items()))
    write_atomically(
        workdir / "README.md",
        f"---\nconfigs:\n- config_name: default\n  data_files:\n{files}tags:\n- preference\n- dpo\n---\n\n"
        "# Preference pairs\n\n"
        "Written by the ingest stage of the B-DPO Pipeline: checked, without duplicates, and split by prompt, so that\n"
        "no prompt lies in two splits.\n\n"
        "| split | pairs |\n| --- | --- |\n"
        f"{counts}\n"
        f"Sources: {sources}.\n\n"
        '`datasets.load_dataset("<this folder>")` gives the splits with the columns of TRL\'s `DPOTrainer`:\n'
        "`prompt`, `chosen` and `rejected` as lists of messages. `pair_id` leads to the row of `pairs.parquet`,\n"
        "which has category, source and safety labels too. Refused rows are in `quarantine.parquet`, each with\n"
        "the rule and the reason; `data_docs/index.html` shows the rules that judge what was measured of pairs.\n\n"
        "Responses may be harmful: that is what the pairs are about.\n",
    )


_PLAIN = str.maketrans({"`": "'", "\n": " ", "\r": " ", "<": "(", ">": ")", "|": "/"})


def _said(responses: pa.ChunkedArray) -> pa.ListArray:
    contents = responses.combine_chunks()
    if isinstance(contents, pa.ChunkedArray):
        contents = pa.concat_arrays(contents.chunks)
    roles = pa.array(["assistant"] * len(contents), pa.string())
    messages = pa.StructArray.from_arrays([roles, contents], fields=list(MESSAGE))
    return pa.ListArray.from_arrays(pa.array(range(len(contents) + 1), pa.int32()), messages)
