"""Pairs whose prompt has the words of an evaluation prompt in it, or a long run of them."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from bdpo.data.rows import RowProblem
from bdpo.ngrams import OVERLAP_WORDS, WholePrompts, overlap_runs, runs, words


class EvaluationPrompt(NamedTuple):
    """A prompt that the model is to be evaluated with, and so must not be trained on."""

    name: str
    """Where it stands, for the reason of a refusal."""
    turns: Sequence[str]
    """Its text, or of a dialogue the turns up to the user's last; an attack's goal is a prompt of its own."""


class EvaluationPrompts:
    """Finds the pairs that share too much with any of them."""

    def __init__(self, prompts: Sequence[EvaluationPrompt]) -> None:
        self._names = [prompt.name for prompt in prompts]
        asked = [[words(turn) for turn in prompt.turns] for prompt in prompts]
        self._whole = WholePrompts(asked)
        self._runs: dict[str, str] = {}
        for name, turns in zip(self._names, asked, strict=True):
            for said in turns:
                for run in overlap_runs(said):
                    self._runs.setdefault(run, name)

    def __bool__(self) -> bool:
        return bool(self._whole)

    def find(self, messages: Sequence[Mapping[str, str]]) -> RowProblem | None:
        """Why a prompt of these messages is refused: they have the words of an evaluation prompt or a run of them."""
        contents = [words(message["content"]) for message in messages]
        for number in self._whole.find(contents):
            reason = f"a message has the words of the evaluation prompt {self._names[number]}"
            return RowProblem("evaluation_overlap", reason)
        for said in contents:
            for run in runs(said, OVERLAP_WORDS):
                if run in self._runs:
                    name = self._runs[run]
                    reason = f"a message shares {OVERLAP_WORDS} words in a row with the evaluation prompt {name}"
                    return RowProblem("evaluation_overlap", reason)
        return None
