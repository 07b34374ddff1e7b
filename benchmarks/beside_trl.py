"""What the comparisons with TRL share: the same rows, and each side in a process of its own."""

import importlib.metadata
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bdpo.data.files import DataFile
from bdpo.data.formats.hh import parse_hh
from bdpo.data.readers import read_rows
from bdpo.data.rows import RowProblem
from bdpo.errors import UserError
from bdpo.layout.chat import tokenize_pair
from bdpo.layout.rendering import Untokenizable
from bdpo.models.embedded import embedded_model
from bdpo.models.loading import load_tokenizer

TRL = "1.16.0"
_ROOT = Path(__file__).resolve().parents[1]
DATA = _ROOT.parent / "shared" / "data" / "hh_rlhf" / "harmless-base-test.jsonl.gz"
_UNCUT = {"max_length": 10**6, "max_prompt_length": 10**6 - 1}


def require_trl() -> None:
    """Raise a UserError where the version that these figures are compared with is not installed."""
    try:
        found = importlib.metadata.version("trl")
    except importlib.metadata.PackageNotFoundError:
        found = "none"
    if found != TRL:
        raise UserError(f"TRL {TRL} is what this compares with, and {found} is there: `pip install trl=={TRL}`.")


def usable_rows(data: Path, longest: int) -> Iterator[dict[str, Any]]:
    """Rows of HH-RLHF that can be laid out and fit `longest` tokens without a cut, in order.

    Raises:
        UserError: the file is missing.
    """
    if not data.is_file():
        raise UserError(f"{data}: there is no such file; name HH-RLHF's harmless-base test split: --data.")
    tokenizer = load_tokenizer(embedded_model())
    for raw in read_rows(DataFile(data, data.name)):
        try:
            pair = parse_hh(raw.value) if isinstance(raw.value, dict) else None
            if pair is None or pair.chosen == pair.rejected:
                continue
            ids = tokenize_pair(tokenizer, pair.prompt, pair.chosen, pair.rejected, **_UNCUT)
        except (RowProblem, Untokenizable):
            continue
        if len(ids.prompt_ids) + max(len(ids.chosen_ids), len(ids.rejected_ids)) <= longest:
            yield {"prompt": pair.prompt, "chosen": pair.chosen, "rejected": pair.rejected}


def enough(found: list[dict[str, Any]], number: int, data: Path) -> list[dict[str, Any]]:
    """The rows, or a UserError where there are fewer than `number`."""
    if len(found) < number:
        raise UserError(f"{data}: only {len(found)} usable rows, where --pairs asks for {number}.")
    return found


def run_side(module: str, task: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Run `benchmarks.<module> TASK.json RESULT.json` in a process of its own; what it found.

    Raises:
        UserError: it failed; the message ends with its last lines.
    """
    folder.mkdir()
    (folder / "task.json").write_text(json.dumps(task), encoding="utf-8")
    command = [sys.executable, "-m", f"benchmarks.{module}", str(folder / "task.json"), str(folder / "result.json")]
    with (folder / "log").open("wb") as log:
        done = subprocess.run(command, cwd=_ROOT, stdout=log, stderr=subprocess.STDOUT, check=False)
    if done.returncode != 0:
        tail = (folder / "log").read_text(encoding="utf-8", errors="replace").splitlines()[-5:]
        raise UserError(f"benchmarks.{module} ended with code {done.returncode}: {' | '.join(tail)}")
    result: dict[str, Any] = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    return result
