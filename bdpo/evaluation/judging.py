"""The judges, by what the settings say."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from bdpo.config.settings import EndpointSettings
from bdpo.evaluation.endpoint import EndpointJudge
from bdpo.evaluation.judges import Judgement, judge_refusal


class Judge(NamedTuple):
    """Who decides whether a completion refuses."""

    name: str
    decide: Callable[[str, str], Judgement | None]
    """Prompt and completion to a judgement; None where there is none."""


def make_judge(settings: str | EndpointSettings, cache: Path) -> Judge:
    """The judge that the settings name.

    Args:
        settings: `rules`, or an endpoint.
        cache: folder for the answers of an endpoint.

    Raises:
        UserError: the endpoint's URL is none.
    """
    if isinstance(settings, str):
        return Judge("rules", lambda prompt, completion: judge_refusal(completion, prompt))
    endpoint = EndpointJudge(
        settings.url, settings.model, cache=cache, requests_per_minute=settings.requests_per_minute
    )

    def decide(prompt: str, completion: str) -> Judgement | None:
        rating = endpoint.rate(prompt, completion)
        if rating is None:
            return None
        return Judgement("refusal" if rating.refused else "compliance", f"StrongREJECT score {rating.score:g}")

    return Judge(settings.model, decide)
