"""Refused rows, each with its place, rule and reason."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Self

import pyarrow as pa
import pyarrow.parquet as pq

from bdpo.data.formats.beavertails import UNPAIRED
from bdpo.schemas import QUARANTINE, SetFailure


class Quarantine:
    """`quarantine.parquet`, written as rows are refused and in place when it is whole."""

    def __init__(self, workdir: Path) -> None:
        """Begin the file.

        Args:
            workdir: the folder that gets it.
        """
        self.path = workdir / "quarantine.parquet"
        self.by_rule: Counter[str] = Counter()
        self.first: dict[str, str] = {}
        """Rule to the place and reason of the first row that it refused."""
        self._temporary = workdir / ".quarantine.parquet.tmp"
        self._writer = pq.ParquetWriter(self._temporary, QUARANTINE, compression="zstd")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *problem: object) -> None:
        self._writer.close()

    def add(self, rows: pa.Table) -> None:
        """Add rows of QUARANTINE."""
        if not rows.num_rows:
            return
        rules = rows["rule"].to_pylist()
        self.by_rule.update(rules)
        for rule in self.by_rule.keys() - self.first.keys():
            row = rows.slice(rules.index(rule), 1).to_pylist()[0]
            self.first[rule] = f"{row['file']}:{row['line']}: {row['reason']}"
        self._writer.write_table(rows)

    def finish(self) -> None:
        """Put the file in place."""
        self._writer.close()
        self._temporary.replace(self.path)

    def explain(self, failure: SetFailure, rows: int, left_out: Mapping[str, int]) -> str:
        """Why a set of rows is not accepted, and where those are that were refused.

        Args:
            failure: what of it is not allowed.
            rows: how many were read.
            left_out: how many were left out without being refused, by the setting that did.
        """
        # The responses that none was left to pair with are no fault of the rows, and no limit counts them.
        faulty = Counter({rule: num for rule, num in self.by_rule.items() if rule != UNPAIRED})
        refused = f"of {rows} rows {faulty.total()} were refused"
        if faulty:
            common = faulty.most_common(3)
            counts = ", ".join(f"{rule} ({count})" for rule, count in common)
            refused += f", most often by: {counts}, as {self.first[common[0][0]]}"
        if self.by_rule[UNPAIRED]:
            refused += f"; {self.by_rule[UNPAIRED]} responses had none to be paired with ({UNPAIRED})"
        if self.by_rule:
            refused += f"; they are in {self.path}"
        left = "".join(f"; {num} were left out by `{cause}`" for cause, num in left_out.items() if num)
        return f"ingest: {failure.rule} is {failure.observed}, allowed is {failure.allowed}; {refused}{left}."
