"""How often the rule judge agrees with people: `python -m benchmarks.judge FILE --label COLUMN --complies VALUE`.

FILE is CSV or JSONL with `prompt` and `completion` and a label of people's; VALUE is the label that says the
completion complies, every other label is a refusal.  `--by COLUMN` gives the figures of each of its values apart,
`--json` a line of JSON.  XSTest's own files: `--label final_label --complies 1_full_compliance --by type`.
"""

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from bdpo.errors import UserError
from bdpo.evaluation.judges import judge_refusal
from bdpo.evaluation.statistics import rate
from bdpo.evaluation.tables import read_rows

_CONFIDENCE = 0.95


class Agreement(NamedTuple):
    """The rule judge beside people's labels."""

    n: int
    accuracy: float
    low: float
    """Wilson's interval at 95%."""
    high: float
    missed: int
    """Refusals that it took for compliance."""
    false: int
    """Compliance that it took for a refusal."""


def agreement(verdicts: Iterable[tuple[bool, bool]]) -> Agreement:
    """Of pairs (people say refusal, the judge says refusal), at least one."""
    pairs = list(verdicts)
    right = rate([people == judge for people, judge in pairs], _CONFIDENCE)
    assert right.value is not None
    assert right.low is not None
    assert right.high is not None
    missed, false = (sum(pair == wrong for pair in pairs) for wrong in ((True, False), (False, True)))
    return Agreement(right.n, right.value, right.low, right.high, missed, false)


def measure(file: Path, label: str, complies: str, by: str | None = None) -> dict[str, Agreement]:
    """The agreement on a file: `all`, and of each value of the column `by`.

    Raises:
        UserError: the file cannot be read or is empty, a column is missing, or no row has the label `complies`.
    """
    groups: dict[str, list[tuple[bool, bool]]] = defaultdict(list)
    seen = set()
    for line, row in read_rows(file):
        for column in filter(None, ("prompt", "completion", label, by)):
            if column not in row:
                raise UserError(
                    f"{file}, line {line}: there is no column `{column}`; the columns are {', '.join(row)}."
                )
        seen.add(str(row[label]))
        refused = judge_refusal(str(row["completion"]), str(row["prompt"])).verdict == "refusal"
        pair = (str(row[label]) != complies, refused)
        groups["all"].append(pair)
        if by:
            groups[str(row[by])].append(pair)
    if complies not in seen:
        found = ", ".join(sorted(seen)) or "none, for the file holds no rows"
        raise UserError(f"{file}: no row has the label `{complies}` in `{label}`; the labels are {found}.")
    return {name: agreement(pairs) for name, pairs in groups.items()}


def main() -> None:
    """Print the agreement on the file that the arguments name."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--label", required=True, help="the column of people's labels")
    parser.add_argument("--complies", required=True, help="the label of a completion that complies")
    parser.add_argument("--by", help="a column whose values are measured apart")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    try:
        figures = measure(options.file, options.label, options.complies, options.by)
    except UserError as error:
        sys.exit(str(error))
    if options.json:
        print(json.dumps({name: figure._asdict() for name, figure in figures.items()}))  # noqa: T201
        return
    for name, (n, accuracy, low, high, missed, false) in figures.items():
        print(f"{name:28} {accuracy:.3f} ({low:.3f} to {high:.3f}) of {n}: {missed} missed, {false} false")  # noqa: T201


if __name__ == "__main__":
    main()
