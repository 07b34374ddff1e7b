"""One scoring process of several.

    python -m bdpo.scoring.worker JOB.json NUMBER

It writes shards as it goes, and beside the job how far it has come and what became of it.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from bdpo.artifacts.disk import explain_disk_error
from bdpo.artifacts.store import write_atomically
from bdpo.errors import UserError
from bdpo.layout.ids import id_tuples
from bdpo.logprobs import NonFinite
from bdpo.scoring.parallel import Done, ScoreJob, result_file
from bdpo.scoring.passes import load_to_score, score_to_shards
from bdpo.scoring.sequences import TokenSequence, share_prompts
from bdpo.scoring.shards import Shards

_PERIOD_S = 1.0
"""Between two notes of forward passes, which may be short."""


def main() -> None:
    """Do the share of the job that the command line names."""
    path, number = Path(sys.argv[1]), int(sys.argv[2])
    job = ScoreJob.read(path)
    said: list[str] = []
    result: dict[str, Any]
    try:
        result = _score(job, number, path.parent, said)
    except Exception as error:
        # The shards lie in <artifacts>/cache/sequences/<scorer digest>.
        artifacts = job.shards.parents[2]
        explained = error if isinstance(error, UserError) else explain_disk_error(error, artifacts)
        if explained is None:
            raise
        result = {"error": str(explained)}
    write_atomically(result_file(path.parent, number), json.dumps(result | {"said": said}))
    sys.exit(0 if not result else 1)


def _score(job: ScoreJob, number: int, folder: Path, said: list[str]) -> dict[str, Any]:
    """Score, and return nothing; or the key of a sequence and the value of its log-prob that is none."""
    model, layout = load_to_score(job.source, job.model, said.append)
    table = pq.read_table(job.sequences)
    prompts, responses = id_tuples(table["prompt_ids"]), id_tuples(table["response_ids"])
    sequences = dict(zip(table["key"].to_pylist(), map(TokenSequence, prompts, responses), strict=True))
    del table, prompts, responses
    rows = share_prompts(sequences, token_budget=job.token_budget, layout=layout)
    done, noted = Done(), time.monotonic()

    def scored(sequences: int) -> None:
        nonlocal done, noted
        done = Done(done.scored + sequences, done.kept)
        if time.monotonic() - noted >= _PERIOD_S:
            done.write(folder, number)
            noted = time.monotonic()

    def kept(sequences: int) -> None:
        nonlocal done
        done = Done(done.scored, done.kept + sequences)
        done.write(folder, number)

    try:
        score_to_shards(
            model,
            rows,
            Shards(job.shards),
            token_budget=job.token_budget,
            layout=layout,
            shard_sequences=job.shard_sequences,
            share=slice(number, None, job.processes),
            scored=scored,
            kept=kept,
        )
    except NonFinite as problem:
        return {"key": rows[problem.index].keys[problem.response], "value": problem.value}
    return {}


if __name__ == "__main__":
    main()
