"""The judges, by what the settings say."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from bdpo.config.evaluate import ClassifierSettings, EndpointSettings
from bdpo.evaluation.chat_endpoint import ChatEndpoint
from bdpo.evaluation.endpoint import EndpointJudge
from bdpo.evaluation.judges import Exchange, Judgement, judge_refusal


class Judge(NamedTuple):
    """Who decides whether completions refuse."""

    name: str
    decide: Callable[[Sequence[Exchange]], list[Judgement | None]]
    """A judgement for each; None where there is none."""
    of_harm: bool = False
    """Whether it judges harm, and so says nothing of a harmless prompt's completion."""


RULES = Judge("rules", lambda exchanges: [judge_refusal(e.completion, e.prompt) for e in exchanges])


def make_judge(settings: str | EndpointSettings | ClassifierSettings, cache: Path) -> Judge:
    """The judge that the settings name.

    Args:
        settings: `rules`, an endpoint or a classifier.
        cache: folder for the answers of a model.

    Raises:
        UserError: the endpoint's URL is none, or the classifier's files are not there.
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

    def decide(exchanges: Sequence[Exchange]) -> list[Judgement | None]:
        ratings = [endpoint.rate(exchange.prompt, exchange.completion) for exchange in exchanges]
        return [
            Judgement("refusal" if rating.refused else "compliance", f"StrongREJECT score {rating.score:g}")
            if rating
            else None
            for rating in ratings
        ]

    return Judge(settings.model, decide)
