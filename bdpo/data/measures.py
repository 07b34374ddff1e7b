"""What the row rules judge of each pair: no column holds its text."""

from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from bdpo.data.rows import Candidate, is_blank
from bdpo.schemas import MEASURES

_DELETE = 0x7F
_WHITE = np.frombuffer(b"\t\n\r", np.uint8)


def measure(pairs: Sequence[Candidate]) -> pa.Table:
    """MEASURES, one row a pair."""
    prompts = [[message["content"] for message in pair.prompt] for pair in pairs]
    of_message = np.repeat(np.arange(len(pairs)), [len(said) for said in prompts])
    control = np.zeros(len(pairs), np.bool_)
    control[of_message[_has_control(list(chain.from_iterable(prompts)))]] = True
    columns: dict[str, Any] = {
        "blank_prompt": [is_blank(pair.prompt[-1]["content"]) for pair in pairs],
        "blank_chosen": [is_blank(pair.chosen) for pair in pairs],
        "blank_rejected": [is_blank(pair.rejected) for pair in pairs],
        "identical_sides": [pair.chosen.strip() == pair.rejected.strip() for pair in pairs],
        "num_chars": [_num_chars(pair) for pair in pairs],
        "control_in_prompt": control,
        "control_in_chosen": _has_control([pair.chosen for pair in pairs]),
        "control_in_rejected": _has_control([pair.rejected for pair in pairs]),
    }
    return pa.table(columns, MEASURES)


def _num_chars(pair: Candidate) -> int:
    """Characters of the prompt's messages, a line end between them, and of the longer response."""
    prompt = sum(len(message["content"]) for message in pair.prompt) + len(pair.prompt) - 1
    return prompt + max(len(pair.chosen), len(pair.rejected))


def _has_control(texts: list[str]) -> NDArray[np.bool_]:
    """Which texts hold a control character of ASCII other than tab and line ends."""
    found = np.zeros(len(texts), np.bool_)
    _, bounds, data = pa.array(texts, pa.large_string()).buffers()
    offsets = np.frombuffer(bounds, np.int64)[: len(texts) + 1]
    content = np.frombuffer(data or b"", np.uint8)[: offsets[-1] if texts else 0]
    places = np.flatnonzero((content < ord(" ")) | (content == _DELETE))
    places = places[~np.isin(content[places], _WHITE)]
    found[np.searchsorted(offsets, places, side="right") - 1] = True
    return found
