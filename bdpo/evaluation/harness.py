"""Anything else: tasks of `lm-eval` (EleutherAI's evaluation harness), run as a child process.

Optional: `pip install lm-eval`.  What it logs of each sample is compared pairwise like every other benchmark, so
a task needs a metric that is right or wrong for each sample (`acc`, `exact_match`, ...), and of which more is better;
the first that is so for both models is taken, by the task's first filter, and both are named with the figure: another
filter may give another one.
"""

import json
import sys
import tempfile
from collections.abc import Mapping
from glob import escape
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from bdpo.artifacts.digest import digest_value
from bdpo.artifacts.kept import kept_json
from bdpo.config import ModelSettings
from bdpo.config.evaluate import LmEvalSettings
from bdpo.errors import UserError
from bdpo.evaluation.task_files import digest_tasks
from bdpo.lifetime import run_guarded
from bdpo.models.gpus import count_gpus
from bdpo.models.loading import devices_for
from bdpo.models.source import ModelSource
from bdpo.packages import require_package
from bdpo.progress import Progress

Metrics = Mapping[str, Mapping[str, bool]]
"""Metric (`acc`; `exact_match, strict-match` by a filter) to sample to whether the model is right, of those that are
right or wrong for each sample, in their order."""
Outcomes = Mapping[str, Metrics]
"""Task to its metrics."""


class Shared(NamedTuple):
    """What both models make of the same samples."""

    metric: str
    base: list[bool]
    aligned: list[bool]


def harness_outcomes(
    settings: LmEvalSettings,
    source: ModelSource,
    model: ModelSettings,
    *,
    batch_size: int,
    cache: Path,
    progress: Progress,
) -> Outcomes:
    """Run the tasks on a model, or find that they were run.

    Args:
        settings: tasks and their limits.
        source: the model's files.
        model: its dtype, and whether code that comes with it may run.
        batch_size: samples together.
        cache: folder where outcomes are kept, by what they depend on.
        progress: where to show what happens.

    Raises:
        UserError: lm-eval is not installed or fails, or a task has no metric that is right or wrong.
    """
    require_package("evaluate.lm_eval", "lm_eval")
    identity = [source.weights_digest, source.tokenizer_digest, model.dtype, version("lm_eval")]
    own = settings.model_dump(mode="json", exclude={"include"}) | {"include": digest_tasks(settings.include)}

    def run() -> dict[str, Metrics]:
        progress.say(f"evaluate: lm-eval, {', '.join(settings.tasks)}, of {source.name}")
        with tempfile.TemporaryDirectory() as scratch:
            _run(settings, source, model, batch_size, Path(scratch))
            return {task: read_samples(task, Path(scratch)) for task in settings.tasks}

    name = digest_value([identity, own, "every metric by its filter, higher is better", "without thinking"])
    outcomes: Outcomes = kept_json(cache / "lm-eval" / f"{name}.json", run)
    return outcomes


def shared_outcomes(task: str, base: Metrics, aligned: Metrics) -> Shared:
    """What both models make of the same samples, by one metric.

    A score between 0 and 1 may be 0 or 1 for every sample of one model alone, so each by itself might take another.

    Raises:
        UserError: no metric is right or wrong for each sample of both.
    """
    metric = next((name for name in base if name in aligned), None)
    if metric is None:
        raise UserError(
            f"evaluate.lm_eval: task {task!r} has no metric that is right or wrong for each sample of both models "
            f"({', '.join(base)}; {', '.join(aligned)}); run it with lm-eval itself."
        )
    return Shared(metric, list(base[metric].values()), [aligned[metric][sample] for sample in base[metric]])


def shown_name(task: str, shared: Shared, limit: int | None) -> str:
    """What a task is called in the results; where a limit may have left samples out, it says so."""
    num_samples = len(shared.base)
    limited = f", its first {num_samples} samples" if num_samples == limit else ""
    return f"{task} (lm-eval, {shared.metric}{limited})"


def _run(settings: LmEvalSettings, source: ModelSource, model: ModelSettings, batch_size: int, target: Path) -> None:
    command = [sys.executable, "-m", "lm_eval", "run", "--model", "hf", "--log_samples", "--output_path", str(target)]
    of_model = f"pretrained={source.folder},dtype={model.dtype},trust_remote_code={model.trust_remote_code}"
    of_model += ",enable_thinking=False"  # as every prompt of ours is written (`bdpo.layout.rendering`)
    if count_gpus() > 1 and devices_for(source, model.dtype) == "auto":
        of_model += ",parallelize=True"  # by itself it takes the first GPU alone
    command += ["--model_args", of_model, "--tasks", *settings.tasks]
    command += ["--batch_size", str(batch_size)]
    if settings.limit is not None:
        command += ["--limit", str(settings.limit)]
    if settings.num_fewshot is not None:
        command += ["--num_fewshot", str(settings.num_fewshot)]
    if settings.chat_template:
        command.append("--apply_chat_template")
    if settings.include:
        # Of several `--include_path` it takes the last; of a list in a config, all.
        config = target / "include.yaml"
        folders = sorted({str(path.parent) for path in settings.include})
        config.write_text(yaml.safe_dump({"include_path": folders}), encoding="ascii")
        command += ["--config", str(config)]
    code, stderr = run_guarded(command)
    if code != 0:
        lines = [line for line in stderr.splitlines() if line.strip()] or ["no reason given"]
        raise UserError(f"lm-eval failed on {source.name} ({', '.join(settings.tasks)}): {lines[-1]}")


def read_samples(task: str, folder: Path) -> Metrics:
    """What lm-eval logged of a task, by the first filter; a metric of which less is better says what is wrong.

    Raises:
        UserError: nothing was logged (a group has to be named by its tasks), or no metric is right or wrong.
    """
    # By its date in full, for `t` has no part in the samples of a task `t_2`.
    files = sorted(folder.rglob(f"samples_{escape(task)}_[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]T*.jsonl"))
    # Not `splitlines`: lm-eval writes the text of a sample as it is, line separators of Unicode among it.
    lines = (line for path in files for line in path.read_text(encoding="utf-8").split("\n"))
    samples: list[dict[str, Any]] = [json.loads(line) for line in lines if line]
    if not samples:
        raise UserError(f"evaluate.lm_eval: task {task!r} logged no samples; name the tasks of a group one by one.")
    first = samples[0].get("filter")
    samples = [sample for sample in samples if sample.get("filter") == first]
    by_filter = "" if first in (None, "none") else f", {first}"
    (results,) = folder.rglob("results_*.json")
    higher_is_better = json.loads(results.read_text(encoding="utf-8"))["higher_is_better"].get(task, {})
    found = {
        f"{metric}{by_filter}": {str(sample["doc_id"]): bool(sample[metric]) for sample in samples}
        for metric in samples[0]["metrics"]
        if higher_is_better.get(metric) is not False and all(sample[metric] in (0, 1) for sample in samples)
    }
    if not found:
        raise UserError(
            f"evaluate.lm_eval: task {task!r} has no metric that is right or wrong for each sample "
            f"({', '.join(samples[0]['metrics'])}); run it with lm-eval itself."
        )
    return found
