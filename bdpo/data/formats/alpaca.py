"""Alpaca preference rows as LLaMA-Factory reads them: an instruction, perhaps its input, two responses."""

from collections.abc import Mapping
from typing import Any

from bdpo.data.formats.fields import is_gap, labelled, optional_text, text
from bdpo.data.formats.turns import user, with_system
from bdpo.data.rows import Candidate, Message, RowProblem


def parse_alpaca(row: Mapping[str, Any]) -> Candidate:
    r"""`instruction`, `input`, `chosen`, `rejected`; also `history` and `system`, where they are given.

    As in LLaMA-Factory's `AlpacaDatasetConverter` (hiyouga/LLaMA-Factory, src/llamafactory/data/converter.py, with
    the columns of data/README.md), the prompt is `"\n".join` of instruction and input, of those that are not empty,
    after the turns of `history`.

    Raises:
        RowProblem: a field is missing or has another type.
    """
    parts = [optional_text(row, "instruction"), optional_text(row, "input")]
    asked = "\n".join(part for part in parts if part) or text(row, "instruction")
    messages = with_system(optional_text(row, "system"), [*_history(row), *user(asked)])
    read = ("instruction", "input", "chosen", "rejected", "history", "system")
    return labelled(row, messages, text(row, "chosen"), text(row, "rejected"), read=read)


def _history(row: Mapping[str, Any]) -> list[Message]:
    """Earlier turns: a list of [what the user said, what the assistant said]."""
    rounds = [] if is_gap(row.get("history")) or row["history"] == "" else row["history"]
    messages = []
    for said in rounds if isinstance(rounds, list) else [rounds]:
        if not isinstance(said, list) or len(said) != 2 or not all(isinstance(turn, str) for turn in said):
            raise RowProblem("wrong_type", "`history` is not a list of [user, assistant] turns")
        messages += [{"role": "user", "content": said[0]}, {"role": "assistant", "content": said[1]}]
    return messages
