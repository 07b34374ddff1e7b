"""One configured source: the shape that its rows have, and its rows brought into it."""

from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

from bdpo.config.ingest import DataFormat
from bdpo.data.blocks import Block
from bdpo.data.csv_rows import CSV_RULES
from bdpo.data.formats import DESCRIPTIONS, PARSERS, detect_format
from bdpo.data.formats.beavertails import Response, parse_beavertails
from bdpo.data.formats.fields import check_text_only, check_unicode
from bdpo.data.formats.mapped import parse_mapped
from bdpo.data.formats.turns import check_roles
from bdpo.data.rows import Candidate, Parsed, RawRow, RowProblem
from bdpo.data.sampling import is_kept
from bdpo.errors import UserError, shown_columns

_LOOKED_AT = 100
_EARLY = ("prompt", "chosen", "rejected")
"""Fields that each row has: where the first rows lack one, the rest need not be read."""
_MORE: Mapping[DataFormat, DataFormat] = {"preference": "ultrafeedback", "pku_better": "pku"}
"""A format that may be found by rows that lack what others of the source have, to the format of these."""
_OF_SHAPE = ("missing_field", "wrong_type", "malformed_transcript")
"""Rules that a row of another format breaks."""


@dataclass(frozen=True)
class Shape:
    """How a source's rows are read."""

    format_name: DataFormat | None
    columns: Mapping[str, str] | None
    """For rows of no known shape: a preference row's fields to the columns that hold them."""
    weight: float = 1.0
    """Share of the rows that is kept; the others come out with no outcome."""
    seed: int = 0
    """Another seed keeps others."""
    is_found: bool = False
    """Whether the format was found by the columns of the first rows, and not named."""

    @property
    def is_paired(self) -> bool:
        """Whether each row is a pair, and none a single response."""
        return self.columns is not None or self.format_name != "beavertails"

    @property
    def optional_columns(self) -> set[str]:
        """Columns that the user named for fields that a row may lack."""
        columns = self.columns or {}
        return {column for field, column in columns.items() if field not in _EARLY and column != field}

    def parse(self, rows: Iterable[RawRow]) -> Iterator[Parsed]:
        """Bring rows that are pairs into shape, each on its own, or say why one has none."""
        for row in rows:
            if not is_kept(row.raw, weight=self.weight, seed=self.seed):
                yield Parsed((row,), None)
            else:
                yield Parsed((row,), self._pair(row))

    def _pair(self, row: RawRow) -> Candidate | RowProblem:
        if isinstance(row.value, RowProblem):
            return row.value
        try:
            check_text_only(row.value)
            if self.columns is not None:
                candidate = parse_mapped(row.value, self.columns)
            else:
                candidate = PARSERS[self._format_of(row.value)](row.value)
            check_roles(candidate.prompt)
            said = [message["content"] for message in candidate.prompt]
            check_unicode(candidate.chosen, candidate.rejected, candidate.category or "", *said)
        except RowProblem as problem:
            return self._other_format(row.value) or problem if problem.rule in _OF_SHAPE else problem
        return candidate

    def _format_of(self, row: Mapping[str, Any]) -> DataFormat:
        """The source's format, but for rows with scores or safety labels after others: nobody asked to skip these."""
        assert self.format_name is not None, "rows were read before their format was known"
        more = _MORE.get(self.format_name) if self.is_found else None
        return more if more is not None and detect_format(row) == more else self.format_name

    def _other_format(self, row: Mapping[str, Any]) -> RowProblem | None:
        """Why a row that is not of the source's format may be so: it is of another."""
        found = detect_format(row)
        if found is None or self.format_name is None or found in (self.format_name, self.format_name.partition("_")[0]):
            return None
        if {found, self.format_name} == {"preference", "ultrafeedback"}:  # either's rows may be read as the other's
            return None
        return RowProblem(
            "other_format",
            f"the row has the columns of `{found}` and the source is read as `{self.format_name}`; make its file a "
            "source of its own",
        )

    def parse_responses(self, rows: Iterable[RawRow]) -> Iterator[tuple[RawRow, Response | RowProblem | None]]:
        """Read rows that are single responses; all of one prompt are kept or left out (None)."""
        for row in rows:
            prompt = row.value.get("prompt") if isinstance(row.value, dict) else None
            decides = prompt if isinstance(prompt, str) else row.raw
            if not is_kept(decides, weight=self.weight, seed=self.seed):
                yield row, None
            elif isinstance(row.value, RowProblem):
                yield row, row.value
            else:
                try:
                    yield row, parse_beavertails(row.value)
                except RowProblem as problem:
                    yield row, problem


def find_shape(
    blocks: Iterable[Block],
    *,
    origin: str,
    format_name: DataFormat | None = None,
    columns: Mapping[str, str] | None = None,
    limit: int | None = None,
    weight: float = 1.0,
    seed: int = 0,
) -> tuple[Shape, Iterator[Block]]:
    """Look at a source's first rows.

    Args:
        blocks: the source's rows.
        origin: what the user calls the source, for error messages.
        format_name: its format; None to find it by the columns of its first rows.
        columns: for rows of no known format, a preference row's fields to the columns that hold them.
        limit: rows to read, all by default.
        weight: share of the rows that is kept.
        seed: another seed keeps others.

    Returns:
        The shape of the rows, and the blocks that are to be read.

    Raises:
        UserError: the rows cannot be read, their columns are those of no known format, or the first have none of the
            name that `columns` gives for a field that each row has.
    """
    blocks = iter(blocks) if limit is None else _limited(blocks, limit)
    looked_at: list[Block] = []
    first: list[RawRow] = []
    for block in blocks:
        looked_at.append(block)
        first += islice(block.first(_LOOKED_AT - len(first)).rows(), _LOOKED_AT - len(first))
        if len(first) == _LOOKED_AT:
            break
    is_found = columns is None and format_name is None
    if columns is not None:
        _require_columns(origin, first, columns)
    elif format_name is None and first:
        format_name = _find_format(origin, first)
    return Shape(format_name, columns, weight, seed, is_found), chain(looked_at, blocks)


def _limited(blocks: Iterable[Block], limit: int) -> Iterator[Block]:
    for block in blocks:
        block = block.first(limit)
        yield block
        limit -= len(block)
        if not limit:
            return


def _require_columns(origin: str, first: list[RawRow], columns: Mapping[str, str]) -> None:
    found = _columns(first)
    for field in _EARLY:
        column = columns[field]
        wanted = field != "prompt" or column != field
        if first and wanted and column not in found:
            raise UserError(
                f"{origin}: `columns.{field}` is {column!r}, which none of the first {len(first)} rows has; their "
                f"columns are {shown_columns(found)}."
            )


def require_seen(origin: str, columns: Mapping[str, str], seen: Set[str]) -> None:
    """Refuse a source of which no row has a column that the user named for a field that a row may lack.

    Args:
        origin: what the user calls the source.
        columns: a preference row's fields to the columns that hold them.
        seen: those of `Shape.optional_columns` that some row had.

    Raises:
        UserError: one is not among these.
    """
    for field, column in columns.items():
        if field not in _EARLY and column != field and column not in seen:
            raise UserError(
                f"{origin}: `columns.{field}` is {column!r}, which none of its rows has; name a column that some of "
                "them have, or none."
            )


def _find_format(origin: str, first: list[RawRow]) -> DataFormat:
    for row in first:
        format_name = detect_format(row.value) if isinstance(row.value, dict) else None
        if format_name is not None:
            return format_name
    known = "; ".join(f"{name}: {description}" for name, description in DESCRIPTIONS.items())
    found = _columns(first)
    if not found:
        row = first[0]
        problem = row.value if isinstance(row.value, RowProblem) else RowProblem("missing_field", "it has no fields")
        wanted = ("a JSON object with fields", "an object a line, or in a .json file a list of objects")
        if problem.rule in CSV_RULES:
            wanted = ("a row of CSV", "a header that names the columns, and as many fields a row")
        raise UserError(
            f"{origin}: none of the first {len(first)} rows is {wanted[0]}; "
            f"{row.file}:{row.line}: {problem.reason}; expected is {wanted[1]}."
        )
    raise UserError(
        f"{origin}: the columns {shown_columns(found)} are those of no known format; name those of prompt and "
        "responses in `columns` where one column always holds the better response (where another column says which "
        f"it is, write `chosen` and `rejected` first), or bring them into one that can be read: {known}."
    )


def _columns(rows: list[RawRow]) -> list[str]:
    return sorted({str(name) for row in rows if isinstance(row.value, dict) for name in row.value})
