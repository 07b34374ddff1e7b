"""The tables that stages hand to each other, and the checks that they ask for."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import pyarrow as pa

if TYPE_CHECKING:
    import pandas as pd

MESSAGE = pa.struct([pa.field("role", pa.string()), pa.field("content", pa.string())])

PAIRS = pa.schema(
    [
        pa.field("pair_id", pa.string(), nullable=False),
        pa.field("prompt", pa.list_(MESSAGE), nullable=False),
        pa.field("chosen", pa.string(), nullable=False),
        pa.field("rejected", pa.string(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("category", pa.string()),
        pa.field("chosen_safe", pa.bool_()),
        pa.field("rejected_safe", pa.bool_()),
        pa.field("meta", pa.string()),
    ]
)
"""`pairs.parquet`, sorted by `pair_id`; `split` is `train` or `validation`, `meta` is JSON."""

QUARANTINE = pa.schema(
    [
        pa.field("file", pa.string(), nullable=False),
        pa.field("line", pa.int64(), nullable=False),
        pa.field("rule", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("row", pa.binary(), nullable=False),
    ]
)
"""`quarantine.parquet`: each rejected row as it came (`row`: its bytes; JSON for a columnar file),
with its file, its line counted from 1 (row number in a columnar file), the rule and the reason."""

MEASURES = pa.schema(
    [
        pa.field("blank_prompt", pa.bool_(), nullable=False),
        pa.field("blank_chosen", pa.bool_(), nullable=False),
        pa.field("blank_rejected", pa.bool_(), nullable=False),
        pa.field("identical_sides", pa.bool_(), nullable=False),
        pa.field("num_chars", pa.int64(), nullable=False),
        pa.field("control_in_prompt", pa.bool_(), nullable=False),
        pa.field("control_in_chosen", pa.bool_(), nullable=False),
        pa.field("control_in_rejected", pa.bool_(), nullable=False),
    ]
)
"""What row rules judge a candidate pair by.  Blank: nothing but white space and characters that
only format, such as a zero-width space (of the prompt, its last turn);
identical: but for white space around; `num_chars`: of the prompt's messages and the longer response;
control: a character of ASCII below the space, or delete, other than tab and line ends."""

SEQUENCES = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        pa.field("logp_sum", pa.float64(), nullable=False),
        pa.field("n_tokens", pa.int32(), nullable=False),
        pa.field("logps", pa.list_(pa.float32()), nullable=False),
    ]
)
"""One scored sequence: log-probs in nats, one a response token; `key` covers tokens and scorer."""

SCORED_PAIRS = pa.schema(
    [
        pa.field("pair_id", pa.string(), nullable=False),
        pa.field("prompt", pa.list_(MESSAGE), nullable=False),
        pa.field("chosen", pa.string(), nullable=False),
        pa.field("rejected", pa.string(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("category", pa.string()),
        pa.field("chosen_tokens", pa.int32(), nullable=False),
        pa.field("rejected_tokens", pa.int32(), nullable=False),
        pa.field("ref_chosen_logps", pa.float64(), nullable=False),
        pa.field("ref_rejected_logps", pa.float64(), nullable=False),
        pa.field("null_chosen_logps", pa.float64(), nullable=False),
        pa.field("null_rejected_logps", pa.float64(), nullable=False),
        pa.field("mi_chosen", pa.float64(), nullable=False),
        pa.field("mi_rejected", pa.float64(), nullable=False),
        pa.field("imbalance", pa.float64(), nullable=False),
        pa.field("chosen_key", pa.string(), nullable=False),
        pa.field("rejected_key", pa.string(), nullable=False),
        pa.field("null_chosen_key", pa.string(), nullable=False),
        pa.field("null_rejected_key", pa.string(), nullable=False),
    ]
)
"""`scored_pairs.parquet`, sorted by `pair_id`: what the weights are computed from.  Summed log-probs
in nats, mutual information in nats a token, `imbalance` = mi_chosen - mi_rejected; `*_key` points at
`sequences.key`."""


@dataclass(frozen=True)
class RowFailure:
    """One row of a frame that a check refuses."""

    index: int
    rule: str
    reason: str


@dataclass(frozen=True)
class SetFailure:
    """One property of a whole set that lies outside what is allowed."""

    rule: str
    observed: str
    allowed: str


@dataclass(frozen=True)
class PairSetFigures:
    """What ingestion accepted and refused."""

    pairs: int
    rows: int
    """Quarantined rows, as below, and those that pairs were made of."""
    quarantined: int
    """Refused rows, but for single responses that none is left to pair with."""
    unsafe_rejected: int
    """Pairs whose rejected response is labelled unsafe; a pair without a label is not."""
    median_response_chars: float
    """Over both responses of every pair."""


@dataclass(frozen=True)
class PairSetLimits:
    """What is allowed; limits are included, and an upper one of None allows everything."""

    min_pairs: int
    max_quarantined_fraction: float
    min_unsafe_rejected_fraction: float
    max_unsafe_rejected_fraction: float
    min_median_response_chars: int
    max_median_response_chars: int | None


@dataclass(frozen=True)
class DriftFigures:
    """How far a set of pairs lies from an earlier one; 0: not at all."""

    response_length_ks: float
    """Kolmogorov-Smirnov distance of the responses' lengths in characters, 0 to 1."""
    unsafe_rejected_change: float
    """By how much the share of pairs whose rejected response is labelled unsafe differs, 0 to 1."""
    category_psi: float
    """Population stability index of the categories; pairs without one are a category too."""


@dataclass(frozen=True)
class DriftLimits:
    """The most that is allowed of each."""

    max_response_length_ks: float
    max_unsafe_rejected_change: float
    max_category_psi: float


class Checks(Protocol):
    """Validation that a stage asks for and that its caller supplies.

    Frames have the columns of the schema named, in any index; `RowFailure.index` is a position.
    """

    def raw_pairs(self, frame: "pd.DataFrame", *, max_chars: int) -> list[RowFailure]:
        """Row rules on candidate pairs (columns of MEASURES)."""

    def pair_set(self, figures: PairSetFigures, limits: PairSetLimits) -> list[SetFailure]:
        """Set rules on what ingestion accepted and refused."""

    def pair_drift(self, figures: DriftFigures, limits: DriftLimits) -> list[SetFailure]:
        """Set rules on how far ingestion's pairs lie from an earlier artifact's."""

    def scored_pairs(self, frame: "pd.DataFrame") -> list[RowFailure]:
        """Row rules on scored pairs (numeric columns of SCORED_PAIRS): finite, not positive, counted."""

    def evaluation_results(self, frame: "pd.DataFrame") -> list[RowFailure]:
        """Row rules on an evaluation's figures (columns of its `SUMMARY`): counted, and shares with their bounds."""

    def write_docs(self, folder: Path) -> Path:
        """Write the Data Docs of what was checked since the last call; the path of their index page."""
