"""Small artifacts of the stages before, whole with their manifests, as the report reads them."""

from pathlib import Path
from typing import Any

import pyarrow as pa

from bdpo.artifacts.manifest import MANIFEST, Manifest, content_digest, list_files
from bdpo.artifacts.parquet import write_parquet


def _manifest(folder: Path, stage: str, summary: dict[str, Any], reads: dict[str, Any]) -> Path:
    files = list_files(folder, without="scratch")
    manifest = Manifest(
        stage=stage,
        fingerprint=f"{stage}-fingerprint",
        run="small",
        reads={"train.mi_floor": 0.05, "train.tau": 1.0, "train.batch_size": 2, "model.path": "<b>model</b>"} | reads,
        inputs={},
        files=files,
        content=content_digest(files),
        summary=summary,
        versions={"python": "3.11"},
        machine={"cores": 2},
        finished="2026-01-01T00:00:00+00:00",
        seconds=1.5,
    )
    (folder / MANIFEST).write_text(manifest.model_dump_json())
    return folder


def small_artifacts(
    root: Path,
    *,
    method: str = "bdpo",
    forms: dict[str, Any] | None = None,
    step: int = 3,
    cut: bool = False,
    left_out: int = 0,
    **reads: Any,
) -> dict[str, Path]:
    """Folders of ingestion, scoring and training: `pairs`, `scores` and `trained`.

    Args:
        root: where they go.
        method: of training.
        forms: its balance, scale and normalise; B-DPO's by default.
        step: whose weights the policy has, of batches of two.
        cut: whether the manifest of training tells of cut prompts and responses.
        left_out: pairs of either split that training did without.
        reads: more settings for the manifests.
    """
    folders = {name: root / name for name in ("pairs", "scores", "trained")}
    for folder in folders.values():
        folder.mkdir(parents=True)
    splits = ["train"] * 6 + ["validation"] * 2
    prompt = [{"role": "user", "content": "How do I tidy?"}]
    pairs = pa.Table.from_pylist([{"prompt": prompt, "split": split} for split in splits])
    write_parquet(pairs, folders["pairs"] / "pairs.parquet")
    rules = pa.Table.from_pylist([{"rule": rule} for rule in ("duplicate", "blank_chosen", "duplicate")])
    write_parquet(rules, folders["pairs"] / "quarantine.parquet")
    scored = [
        {"pair_id": str(i), "prompt": prompt, "split": split, "mi_chosen": 0.2 * i - 0.1, "mi_rejected": 0.5}
        for i, split in enumerate(splits)
    ]
    write_parquet(pa.Table.from_pylist(scored), folders["scores"] / "scored_pairs.parquet")
    metrics = [
        {"step": step, "split": split, "metric": f"{prefix}{metric}", "value": 1 / step}
        for metric in ("loss", "rewards/margins", "learning_rate")
        for split, prefix in (("train", ""), ("validation", "eval_"))
        for step in (1, 2, 3)
    ]
    write_parquet(pa.Table.from_pylist(metrics), folders["trained"] / "metrics.parquet")
    forms = forms or {"balance": "inverse", "scale": "harmonic", "normalise": False}
    trained = {"method": method, "forms": forms, "pairs": 6, "policy_of_step": step}
    trained |= {"pairs_left_out": left_out}
    trained |= {"prompts_cut": 3, "responses_cut": 5} if cut else {}
    summaries = {"pairs": {}, "scores": {}, "trained": trained}
    for (name, folder), stage in zip(folders.items(), ("ingest", "score", "train"), strict=True):
        _manifest(folder, stage, summaries[name], reads)
    return folders
