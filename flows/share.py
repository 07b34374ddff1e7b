"""A share of the scoring, where several machines score the same pairs."""

from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from bdpo.errors import UserError
from bdpo.pipeline import Pipeline
from bdpo.progress import Progress
from flows.delivery import Delivery
from flows.progress import PrefectProgress, both


@task(name="score-share", cache_policy=NO_CACHE, persist_result=False)
def score_share(pipeline: Pipeline, share: str, shown: Progress | None, deliver: Delivery) -> State[Any]:
    """Score one part of the pairs' sequences, for another run to gather."""
    progress = PrefectProgress("score", deliver)
    try:
        counts = pipeline.score_share(share, progress=both(progress, shown))
    except UserError as error:
        return Failed(message=str(error), data=error)
    progress.finish()
    scored, sequences = counts["sequences_scored"], counts["sequences"]
    message = f"share {share}: {scored} of its {sequences} sequences were scored now"
    if shown is not None:
        shown.say(message)
    return Completed(message=message, data=counts)
