"""HH-RLHF pairs with the safety labels that SafeDPO asks for and the data set has not.

    python configs/ablation/pairs.py harmless-base-test.jsonl.gz artifacts/ablation-pairs.jsonl

In harmless-base people chose the less harmful of two responses, so the chosen one is labelled safe and the
rejected one unsafe.  That is an assumption: where both are harmless, or both harmful, the label is wrong.  Under
it no pair is turned round, and SafeDPO is DPO with its margin.  Every method trains on the same file and only
SafeDPO looks at the labels, so pairs and scores are shared.
"""

import json
import sys
from pathlib import Path

from bdpo.artifacts.store import write_atomically
from bdpo.data.files import data_files
from bdpo.data.formats.hh import parse_hh
from bdpo.data.readers import read_rows
from bdpo.data.rows import RowProblem
from bdpo.errors import UserError


def label(source: Path, target: Path) -> tuple[int, int]:
    """Write the labelled pairs.

    Args:
        source: harmless-base as it is published.
        target: JSONL in the format `preference`; its folder is made if it is not there.

    Returns:
        Rows written, and rows left out because they are no pair of transcripts.

    Raises:
        UserError: the source cannot be read.
    """
    lines, left_out = [], 0
    for file in data_files(source):
        for row in read_rows(file):
            try:
                if isinstance(row.value, RowProblem):
                    raise row.value
                pair = parse_hh(row.value)
            except RowProblem:
                left_out += 1
                continue
            values = {"prompt": pair.prompt, "chosen": pair.chosen, "rejected": pair.rejected}
            lines.append(json.dumps(values | {"chosen_safe": True, "rejected_safe": False}) + "\n")
    target.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(target, "".join(lines))
    return len(lines), left_out


def main() -> None:
    """Take source and target from the command line."""
    if len(sys.argv) != 3:
        sys.exit("error: python configs/ablation/pairs.py HARMLESS_BASE TARGET.jsonl")
    try:
        written, left_out = label(Path(sys.argv[1]), Path(sys.argv[2]))
    except UserError as error:
        sys.exit(f"error: {error}")
    sys.stdout.write(f"{written} pairs written to {sys.argv[2]}; {left_out} rows left out\n")


if __name__ == "__main__":
    main()
