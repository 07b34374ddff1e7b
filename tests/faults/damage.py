"""Files that are altered or cut behind the project's back."""

import os
import subprocess
import sys
from pathlib import Path

from tests.faults.evidence import committed
from tests.faults.trial import DONE, Trial

WHOLE = {
    "ingest": ("pairs.parquet", "quarantine.parquet", "dataset/train.parquet", "README.md", "manifest.json"),
    "score": ("scores.duckdb", "scored_pairs.parquet", "data_docs/index.html", "manifest.json"),
    "train": ("policy/model.safetensors", "policy/config.json", "policy/tokenizer.json", "metrics.parquet",
              "tensorboard/train/events.out.tfevents.train", "manifest.json"),
    "evaluate": ("generations.parquet", "judgements.parquet", "eval_summary.parquet", "report.html", "summary.md",
                 "manifest.json"),
}  # fmt: skip
"""Files of finished artifacts."""
HALF_DONE = {
    "score": ("cache/sequences/*/*.parquet", "score/*.partial/progress.json"),
    "train": (
        "train/*.partial/scratch/checkpoints/step-*/state/mp_rank_00_model_states.pt",
        "train/*.partial/scratch/checkpoints/step-*/complete.json",
        "train/*.partial/scratch/prepared.parquet",
        "train/*.partial/scratch/metrics.jsonl",
        "train/*.partial/scratch/job.json",
        "train/*.partial/progress.json",
    ),
    "evaluate": (
        "cache/generations/*/*.parquet",
        "evaluate/*.partial/scratch/held_out/aligned/*",
        "evaluate/*.partial/progress.json",
    ),
}
"""Files of stages under way; of several the last is taken."""
SHARED = ("bdpo.duckdb", "runs/*.json")
"""Files of no stage."""


def flip(trial: Trial) -> None:
    """Alter one byte."""
    _damage(trial, lambda path: _flip(path, trial))


def truncate(trial: Trial) -> None:
    """Cut a file somewhere."""
    _damage(trial, lambda path: _cut(path, trial))


def _damage(trial: Trial, harm: object) -> None:
    assert callable(harm)
    target = trial.fault.target
    pattern = next(p for p in patterns(trial.fault.stage) if file_name(p) == target)
    half = pattern in HALF_DONE.get(trial.fault.stage, ())
    trial.lay(f"{trial.fault.stage}-half" if half else DONE)
    place = pattern if half or pattern in SHARED else f"{trial.fault.stage}/*/{pattern}"
    path = sorted(trial.root.glob(place))[-1]
    trial.report.moment = f"{path.relative_to(trial.root)}: {harm(path)}"
    # What was damaged is no longer committed; the rest is.
    trial.before = committed(trial.root)
    trial.carry_on(stages=("ingest", "score", "train", "evaluate") if not half else None)


def patterns(stage: str) -> tuple[str, ...]:
    """All that is damaged of a stage."""
    return (*WHOLE.get(stage, ()), *HALF_DONE.get(stage, ()), *(SHARED if stage == "all" else ()))


def file_name(pattern: str) -> str:
    """What a target is called: the end of its path, without what varies."""
    parts = [part for part in Path(pattern).parts if "*" not in part]
    kind = Path(pattern).parts[-1].lstrip("*.")
    return "_".join([*parts[-1:], *([kind] if "*" in Path(pattern).parts[-1] and kind else [])]).replace("/", "_")


def _flip(path: Path, trial: Trial) -> str:
    content = bytearray(path.read_bytes())
    place, bit = trial.random.randrange(len(content)), trial.random.randrange(8)
    content[place] ^= 1 << bit
    path.write_bytes(content)
    return f"bit {bit} of byte {place} of {len(content)}"


def _cut(path: Path, trial: Trial) -> str:
    size = path.stat().st_size
    left = trial.random.randrange(size)
    os.truncate(path, left)
    return f"cut to {left} of {size} bytes"


def outside(trial: Trial) -> None:
    """Damage what the user gave: the raw rows, the prompts or the model.  Then put it back."""
    cut = trial.fault.kind.startswith("truncate")
    trial.lay()
    path = trial.folder / {"model": "model/model.safetensors", "prompts": "prompts.jsonl"}[trial.fault.target]
    content = path.read_bytes()
    trial.report.moment = f"{path.relative_to(trial.folder)}: {(_cut if cut else _flip)(path, trial)}"
    run = trial.start()
    trial.note(run, run.wait(), ("completed", "sentence"))
    path.write_bytes(content)
    trial.carry_on()


def cut_rows(trial: Trial) -> None:
    """Cut or alter a Parquet file of raw rows that a run is given; the files of the config stay as they are."""
    trial.lay()
    rows = trial.folder / "rows.parquet"
    code = "import sys, pyarrow.json as j, pyarrow.parquet as p; p.write_table(j.read_json(sys.argv[1]), sys.argv[2])"
    subprocess.run([sys.executable, "-c", code, str(trial.folder / "pairs" / "00.jsonl"), str(rows)], check=True)
    harm = _cut if trial.fault.kind.startswith("truncate") else _flip
    trial.report.moment = f"{rows.name}: {harm(rows, trial)}"
    run = trial.start(f"ingest.sources=[{{path: {rows}}}]")
    trial.note(run, run.wait(), ("completed", "sentence"))
    trial.carry_on()
