"""Completions that are as long as they may be: what would have come next, an answer or a refusal, nobody has seen."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from bdpo.evaluation.benchmarks import METRICS
from bdpo.evaluation.formats import Label
from bdpo.evaluation.outcomes import Entry, Role
from bdpo.evaluation.respond import Answers
from bdpo.evaluation.summary import WORDS
from bdpo.progress import Progress


class CutOff(NamedTuple):
    """Of one figure, how many completions are as long as they may be; one whose last token ends it is among them."""

    benchmark: str
    label: Label
    num_prompts: int
    longest: int
    """Longest completion, in tokens."""
    num_cut: Mapping[Role, int]

    @property
    def figure(self) -> str:
        """For people."""
        return WORDS[METRICS[self.label]]


def find_cut_off(entries: Sequence[Entry], answers: Mapping[Role, Answers], longest: Mapping[str, int]) -> list[CutOff]:
    """The figures some of whose completions are as long as they may be.

    Args:
        entries: the prompts.
        answers: a reply to each, of both models.
        longest: benchmark to its longest completion, in tokens.
    """
    asked = Counter((benchmark.name, prompt.label) for benchmark, prompt in entries)
    cut: dict[Role, Counter[tuple[str, Label]]] = {
        role: Counter(
            (benchmark.name, prompt.label)
            for (benchmark, prompt), reply in zip(entries, given.replies, strict=True)
            if reply.n_tokens == longest[benchmark.name]
        )
        for role, given in answers.items()
    }
    return [
        CutOff(name, label, num_prompts, longest[name], {role: cut[role][name, label] for role in cut})
        for (name, label), num_prompts in asked.items()
        if any(cut[role][name, label] for role in cut)
    ]


def say_cut_answers(found: Sequence[CutOff], progress: Progress) -> None:
    """Say what was cut off where it counts as wrong; most completions of other prompts are longer than they may be."""
    for own in found:
        if own.label == "question":
            progress.say(
                f"evaluate: of {own.num_prompts} answers to {own.benchmark}, {own.num_cut['base']} by the base model "
                f"and {own.num_cut['aligned']} by the aligned one reach the limit of {own.longest} tokens; what would "
                "come later counts as wrong, so raise the benchmark's max_new_tokens"
            )
