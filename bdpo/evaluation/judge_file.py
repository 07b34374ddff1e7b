"""`bdpo judge`: verdicts on the completions of a file."""

from pathlib import Path
from typing import Any

from bdpo.errors import UserError
from bdpo.evaluation.judges import judge_refusal
from bdpo.evaluation.tables import read_rows, write_rows

_NEEDED = ("prompt", "completion")
_ADDED = ("verdict", "reason")


def judge_file(source: Path, target: Path) -> dict[str, int]:
    """Judge every row of a file by the rules.

    Args:
        source: CSV or JSONL with `prompt` and `completion`.
        target: gets the same rows, in the same order, with `verdict` (`refusal` or `compliance`) and
            `reason` after their own columns; CSV or JSONL.

    Returns:
        How many rows got which verdict.

    Raises:
        UserError: a file cannot be read or written, or a column is missing, taken or no text.
    """
    rows = read_rows(source)
    if not rows:
        raise UserError(f"{source}: the file holds no rows.")
    judged: list[dict[str, Any]] = []
    counts = {"refusal": 0, "compliance": 0}
    for line, values in rows:
        for column in _NEEDED:
            if column not in values:
                shown = ", ".join(map(str, values))
                raise UserError(f"{source}, line {line}: there is no column `{column}`; the columns are {shown}.")
            if not isinstance(values[column], str):
                raise UserError(f"{source}, line {line}: `{column}` is {values[column]!r:.60}, but text is expected.")
        for column in _ADDED:
            if column in values:
                raise UserError(f"{source}, line {line}: the column `{column}` is there already; rename or remove it.")
        judgement = judge_refusal(values["completion"])
        counts[judgement.verdict] += 1
        judged.append(values | judgement._asdict())
    write_rows(target, judged)
    return counts
