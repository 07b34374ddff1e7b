"""The one code path that turns token ids into log-probs, for reference and policy alike."""

from bdpo.logprobs.compiled import compile_layers
from bdpo.logprobs.forward import response_logps, sum_logps
from bdpo.logprobs.keys import Scorer, sequence_key
from bdpo.logprobs.proof import choose_layout
from bdpo.logprobs.score import NonFinite, ScoredRows, score_rows

__all__ = [
    "NonFinite",
    "ScoredRows",
    "Scorer",
    "choose_layout",
    "compile_layers",
    "response_logps",
    "score_rows",
    "sequence_key",
    "sum_logps",
]
