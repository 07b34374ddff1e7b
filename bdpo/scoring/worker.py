"""One scoring process of several.

    python -m bdpo.scoring.worker JOB.json NUMBER

It writes shards as it goes, and beside the job how many sequences it has written and
what became of it.
"""

import json
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from bdpo.artifacts.disk import explain_disk_error
from bdpo.artifacts.store import write_atomically
from bdpo.errors import UserError
from bdpo.logprobs import NonFinite, choose_layout
from bdpo.models import load_for_inference
from bdpo.scoring.parallel import ScoreJob, progress_file, result_file
from bdpo.scoring.passes import score_in_shards
from bdpo.scoring.sequences import TokenSequence, share_prompts
from bdpo.scoring.shards import Shards


def main() -> None:
    """Do the share of the job that the command line names."""
    path, number = Path(sys.argv[1]), int(sys.argv[2])
    job = ScoreJob.read(path)
    said: list[str] = []
    result: dict[str, Any]
    try:
        result = _score(job, number, path.parent, said)
    except Exception as error:
        explained = error if isinstance(error, UserError) else explain_disk_error(error, Path(job.shards))
        if explained is None:
            raise
        result = {"error": str(explained)}
    write_atomically(result_file(path.parent, number), json.dumps(result | {"said": said}))
    sys.exit(0 if not result else 1)


def _score(job: ScoreJob, number: int, folder: Path, said: list[str]) -> dict[str, Any]:
    """Score, and return nothing; or the key of a sequence and the value of its log-prob that is none."""
    model = load_for_inference(
        Path(job.model_folder),
        dtype=job.dtype,
        attention=job.attention,
        trust_remote_code=job.trust_remote_code,
        quantization=job.quantization,
    )
    layout = choose_layout(model, said.append, max_length=job.max_length)
    sequences = {
        row["key"]: TokenSequence(tuple(row["prompt_ids"]), tuple(row["response_ids"]))
        for row in pq.read_table(job.sequences).to_pylist()
    }
    rows = share_prompts(sequences, token_budget=job.token_budget, layout=layout)
    shards = Shards(Path(job.shards))
    written = 0
    try:
        for shard in score_in_shards(
            model,
            rows,
            token_budget=job.token_budget,
            layout=layout,
            shard_sequences=job.shard_sequences,
            share=slice(number, None, job.processes),
        ):
            shards.write(shard)
            written += len(shard)
            write_atomically(progress_file(folder, number), str(written))
    except NonFinite as problem:
        return {"key": rows[problem.index].keys[problem.response], "value": problem.value}
    return {}


if __name__ == "__main__":
    main()
