"""The four stages as a graph: plan a run, run a stage, say why.

    ingest -> score -> train -> evaluate

A notebook uses it like this:

    pipeline = Pipeline(load_config("configs/demo.yaml"), checks=GreatExpectationsChecks())
    for planned in pipeline.plan():
        print(planned.stage, planned.state, planned.reasons)
    results = pipeline.run()
"""

from bdpo.pipeline.plan import StagePlan
from bdpo.pipeline.run import Pipeline, StageResult

__all__ = ["Pipeline", "StagePlan", "StageResult"]
