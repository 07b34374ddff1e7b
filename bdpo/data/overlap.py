"""Pairs of which a message has the words of an evaluation prompt, or a long run of them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from bdpo.data.rows import RowProblem
from bdpo.ngrams import OVERLAP_WORDS, overlap_runs, runs, words


class EvaluationPrompt(NamedTuple):
    """A prompt that the model is to be evaluated with, and so must not be trained on."""

    name: str
    """Where it stands, for the reason of a refusal."""
    text: str


class EvaluationPrompts:
    """Finds the pairs that share too much with any of them."""

    def __init__(self, prompts: Iterable[EvaluationPrompt]) -> None:
        self._whole: dict[str, str] = {}
        self._runs: dict[str, str] = {}
        for prompt in prompts:
            said = words(prompt.text)
            self._whole.setdefault(" ".join(said), prompt.name)
            for run in overlap_runs(said):
                self._runs.setdefault(run, prompt.name)
        self._whole.pop("", None)

    def __bool__(self) -> bool:
        return bool(self._whole)

    def find(self, messages: Sequence[Mapping[str, str]]) -> RowProblem | None:
        """Why a prompt of these messages is refused: one has the words of an evaluation prompt or a run of them."""
        for message in messages:
            said = words(message["content"])
            name = self._whole.get(" ".join(said))
            if name is not None:
                return RowProblem("evaluation_overlap", f"a message has the words of the evaluation prompt {name}")
            for run in runs(said, OVERLAP_WORDS):
                if run in self._runs:
                    name = self._runs[run]
                    reason = f"a message shares {OVERLAP_WORDS} words in a row with the evaluation prompt {name}"
                    return RowProblem("evaluation_overlap", reason)
        return None
