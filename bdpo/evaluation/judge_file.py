"""`bdpo judge`: verdicts on the completions of a file."""

from pathlib import Path
from typing import Any

from bdpo.errors import UserError, shown_columns
from bdpo.evaluation.judges import Exchange
from bdpo.evaluation.judging import Judge, why_none
from bdpo.evaluation.tables import check_writable, read_rows, write_rows
from bdpo.progress import Progress

_NEEDED = ("prompt", "completion")
_ADDED = ("verdict", "reason")


def judge_file(source: Path, target: Path, judge: Judge, progress: Progress) -> dict[str, int]:
    """Judge every row of a file.

    Args:
        source: CSV or JSONL with `prompt` and `completion`.
        target: gets the same rows, in the same order, with `verdict` (`refusal` or `compliance`, blank where
            the judge gave none) and `reason` after their own columns; CSV or JSONL.
        judge: who decides.
        progress: where to show what happens.

    Returns:
        How many rows got which verdict; `unscored` those that got none.

    Raises:
        UserError: a file cannot be read or written, or a column is missing, taken or no text.
    """
    rows = read_rows(source)
    if not rows:
        raise UserError(f"{source}: the file holds no rows.")
    counts = {"refusal": 0, "compliance": 0, "unscored": 0}
    check_writable(target)
    for line, values in rows:
        for column in _NEEDED:
            if column not in values:
                shown = shown_columns(list(values))
                raise UserError(f"{source}, line {line}: there is no column `{column}`; the columns are {shown}.")
            if not isinstance(values[column], str):
                raise UserError(f"{source}, line {line}: `{column}` is {values[column]!r:.60}, but text is expected.")
        for column in _ADDED:
            if column in values:
                raise UserError(f"{source}, line {line}: the column `{column}` is there already; rename or remove it.")
    exchanges = [Exchange(values["prompt"], values["completion"]) for _, values in rows]
    progress.begin(f"judge: {judge.name}", len(exchanges), "completions")
    judged: list[dict[str, Any]] = []
    for (_, values), judgement in zip(rows, judge.judge(exchanges, progress.advance), strict=True):
        counts[judgement.verdict if judgement else "unscored"] += 1
        given = judgement._asdict() if judgement else {"verdict": "", "reason": why_none(values["completion"])}
        judged.append(values | given)
    write_rows(target, judged)
    return counts
