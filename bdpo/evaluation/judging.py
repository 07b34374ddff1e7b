"""The judges, by what the settings say."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from bdpo.config.evaluate import ClassifierSettings, EndpointSettings
from bdpo.evaluation.chat_endpoint import ChatEndpoint
from bdpo.evaluation.endpoint import EndpointJudge, Rating
from bdpo.evaluation.judges import Exchange, Judgement, judge_refusal
from bdpo.evaluation.rules.speech import after_thinking, is_cut_while_thinking

Advance = Callable[[int], None]
"""Told of so many more that are judged."""


class Judge(NamedTuple):
    """Who decides whether completions refuse."""

    name: str
    decide: Callable[[Sequence[Exchange], Advance], list[Judgement | None]]
    """A judgement for each; None where there is none.  It reports how many it has judged, as it goes."""
    of_harm: bool = False
    """Whether it judges harm, and so says nothing of a harmless prompt's completion."""

    def judge(self, exchanges: Sequence[Exchange], advance: Advance) -> list[Judgement | None]:
        """Judge what is said after a reasoning model's thoughts.

        Returns:
            A judgement for each; None where there is none (`why_none`).
        """
        cut = [is_cut_while_thinking(own.completion) for own in exchanges]
        if any(cut):
            advance(sum(cut))
        answers = [
            own._replace(completion=after_thinking(own.completion))
            for own, unasked in zip(exchanges, cut, strict=True)
            if not unasked
        ]
        given = iter(self.decide(answers, advance) if answers else [])
        return [None if unasked else next(given) for unasked in cut]


def why_none(completion: str) -> str:
    """Why a completion has no judgement."""
    return CUT_WHILE_THINKING if is_cut_while_thinking(completion) else "the judge gave no judgement"


CUT_WHILE_THINKING = "cut while the model still thinks: there is no answer"


def _by_rules(exchanges: Sequence[Exchange], advance: Advance) -> list[Judgement | None]:
    judged: list[Judgement | None] = []
    for exchange in exchanges:
        asked = exchange.contextual.behavior if exchange.contextual else exchange.prompt
        judged.append(judge_refusal(exchange.completion, asked))
        advance(1)
    return judged


RULES = Judge("rules", _by_rules)


def make_judge(settings: str | EndpointSettings | ClassifierSettings, cache: Path) -> Judge:
    """The judge that the settings name.

    Args:
        settings: `rules`, an endpoint or a classifier.
        cache: folder for the answers of a model.

    Raises:
        UserError: the endpoint's URL is none, or the classifier's files are not there or its tokenizer does not load.
    """
    if isinstance(settings, str):
        return RULES
    if isinstance(settings, ClassifierSettings):
        # Imports transformers, which takes seconds.
        from bdpo.evaluation.classifier_judge import ClassifierJudge
        from bdpo.evaluation.classifiers import CLASSIFIERS

        classifier = CLASSIFIERS[settings.kind]
        return Judge(classifier.name, ClassifierJudge(settings, cache).judge, classifier.of_harm)
    chat = ChatEndpoint(settings.url, settings.model, requests_per_minute=settings.requests_per_minute)
    endpoint = EndpointJudge(chat, cache)

    def decide(exchanges: Sequence[Exchange], advance: Advance) -> list[Judgement | None]:
        judged: list[Judgement | None] = []
        for exchange in exchanges:
            rating = endpoint.rate(exchange.prompt, exchange.completion)
            judged.append(rating and _judgement(rating))
            advance(1)
        return judged

    return Judge(settings.model, decide)


def _judgement(rating: Rating) -> Judgement:
    return Judgement("refusal" if rating.refused else "compliance", f"StrongREJECT score {rating.score:g}")
