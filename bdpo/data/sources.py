"""One configured source to candidates and refusals, in the order of its rows."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, islice

from bdpo.config.settings import DataFormat
from bdpo.data.formats import DESCRIPTIONS, PARSERS, detect_format
from bdpo.data.formats.beavertails import Response, pair_responses, parse_beavertails
from bdpo.data.formats.fields import check_unicode
from bdpo.data.formats.mapped import parse_mapped
from bdpo.data.formats.turns import check_roles
from bdpo.data.rows import Candidate, Parsed, RawRow, RowProblem
from bdpo.data.sampling import is_kept
from bdpo.errors import UserError

_LOOKED_AT = 100


def read_source(
    rows: Iterable[RawRow],
    *,
    origin: str,
    format_name: DataFormat | None = None,
    columns: Mapping[str, str] | None = None,
    limit: int | None = None,
    weight: float = 1.0,
    seed: int = 0,
) -> Iterator[Parsed]:
    """Bring each row of a source into shape, or say why it has none.

    Args:
        rows: the source's rows.
        origin: what the user calls the source, for error messages.
        format_name: its shape; None to find it by the columns of its first rows.
        columns: for rows of no known shape, a preference row's fields to the columns that hold them.
        limit: rows to read, all by default.
        weight: share of the rows that is kept; the others come out with no outcome.
        seed: another seed keeps others.

    Raises:
        UserError: the rows cannot be read, or their columns are those of no known shape.
    """
    rows = islice(rows, limit)
    first = list(islice(rows, _LOOKED_AT))
    if columns is not None:
        _require_columns(origin, first, columns)
    elif format_name is None and first:
        format_name = _find_format(origin, first)
    responses: list[tuple[RawRow, Response]] = []
    for row in chain(first, rows):
        if not is_kept(_thinned_by(row, format_name), weight=weight, seed=seed):
            yield Parsed((row,), None)
            continue
        result = _parse(row, format_name, columns)
        if isinstance(result, Response):
            responses.append((row, result))
        else:
            yield Parsed((row,), result)
    yield from pair_responses(responses)


def _parse(
    row: RawRow, format_name: DataFormat | None, columns: Mapping[str, str] | None
) -> Candidate | Response | RowProblem:
    if isinstance(row.value, RowProblem):
        return row.value
    try:
        if columns is not None:
            candidate = parse_mapped(row.value, columns)
        elif format_name == "beavertails":
            return parse_beavertails(row.value)
        else:
            assert format_name is not None, "rows were read before their format was known"
            candidate = PARSERS[format_name](row.value)
        check_roles(candidate.prompt)
        said = (message["content"] for message in candidate.prompt)
        check_unicode(candidate.chosen, candidate.rejected, candidate.category or "", *said)
    except RowProblem as problem:
        return problem
    return candidate


def _thinned_by(row: RawRow, format_name: DataFormat | None) -> str | bytes:
    """What decides whether a row is kept: itself, or its prompt where rows are paired within a prompt."""
    prompt = row.value.get("prompt") if format_name == "beavertails" and isinstance(row.value, dict) else None
    return prompt if isinstance(prompt, str) else row.raw


def _require_columns(origin: str, first: list[RawRow], columns: Mapping[str, str]) -> None:
    found = _columns(first)
    for field, column in columns.items():
        wanted = field in ("chosen", "rejected") or column != field
        if first and wanted and column not in found:
            raise UserError(
                f"{origin}: `columns.{field}` is {column!r}, which no row has; the columns are {_shown(found)}."
            )


def _find_format(origin: str, first: list[RawRow]) -> DataFormat:
    for row in first:
        format_name = detect_format(row.value) if isinstance(row.value, dict) else None
        if format_name is not None:
            return format_name
    known = "; ".join(f"{name}: {description}" for name, description in DESCRIPTIONS.items())
    found = _columns(first)
    if not found:
        raise UserError(f"{origin}: none of the first {len(first)} rows is a JSON object; what can be read is {known}.")
    raise UserError(
        f"{origin}: the columns {_shown(found)} are those of no known format; name those of prompt and responses "
        f"in `columns`, or bring them into one that can be read: {known}."
    )


def _columns(rows: list[RawRow]) -> list[str]:
    return sorted({str(name) for row in rows if isinstance(row.value, dict) for name in row.value})


def _shown(columns: list[str]) -> str:
    return ", ".join(f"`{column[:40]}`" for column in columns[:12]) or "none"
