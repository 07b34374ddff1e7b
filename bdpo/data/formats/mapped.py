"""Any other columns, by a map from a preference row's fields to them."""

from collections.abc import Mapping
from typing import Any

from bdpo.data.formats.fields import optional_text
from bdpo.data.formats.preference import parse_preference
from bdpo.data.rows import Candidate


def parse_mapped(row: Mapping[str, Any], columns: Mapping[str, str]) -> Candidate:
    """A preference row under other names.

    Args:
        row: its fields.
        columns: a field of a preference row (`prompt`, `chosen`, ...) to the column that holds it; what no
            field is taken from is `meta`.

    Raises:
        RowProblem: as for `parse_preference`, or the column that is named for the category is no text.
    """
    category = columns.get("category", "category")
    if category != "category":
        optional_text(row, category)
    candidate = parse_preference({field: row.get(column) for field, column in columns.items()})
    used = set(columns.values())
    candidate.meta |= {name: value for name, value in row.items() if name not in used}
    return candidate
