"""Scores that are not this model's are met before they can do harm."""

import re
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import torch

from bdpo.errors import UserError
from bdpo.models.loading import load_reference
from bdpo.progress import Silent
from bdpo.training.worker_files import Job
from tests.training.stage_runs import pipeline, train_on

Train = Callable[..., None]


@pytest.fixture
def with_scores(config: Path, tmp_path: Path) -> Train:
    """Trains, all pairs in one step, after adding so many nats to the chosen log-prob of the i-th training pair."""

    def run(added: Callable[[int], float], *overrides: str) -> None:
        work = pipeline(config, "train.batch_size=64", "train.max_steps=1", *overrides)
        folders = {planned.stage: planned.folder for planned in pipeline(config).plan()}
        table = pq.read_table(folders["score"] / "scored_pairs.parquet")
        ids = table.filter(pc.field("split") == "train")["pair_id"].to_pylist()
        wrong = {pair_id: added(i) for i, pair_id in enumerate(ids)}
        rows: list[dict[str, Any]] = table.to_pylist()
        for row in rows:
            row["ref_chosen_logps"] += wrong.get(row["pair_id"], 0.0)
        for folder in ("scores", "work/scratch"):
            (tmp_path / folder).mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist(rows, table.schema), tmp_path / "scores" / "scored_pairs.parquet")
        train_on(work, folders["ingest"], tmp_path / "work", Silent(), scores=tmp_path / "scores")

    return run


def test_a_sample_of_the_scores_is_recomputed_first(with_scores: Train, tmp_path: Path) -> None:
    with pytest.raises(UserError) as raised:
        with_scores(lambda i: 5.0)
    found = re.fullmatch(
        r"The cached log-prob of the chosen response of pair \w+ is (-[\d.]+) and the reference model now gives "
        r"(-[\d.]+): the scores are not this model's; run `--force score`\.",
        str(raised.value),
    )
    assert found is not None, raised.value
    assert float(found[1]) - float(found[2]) == pytest.approx(5.0, abs=1e-3)
    assert not (tmp_path / "work" / "scratch" / "train.log").exists()


@pytest.mark.slow
def test_the_first_step_begins_at_log_ratios_of_zero(with_scores: Train, tmp_path: Path) -> None:
    """Pair 1 is in no sample of eight, the first and the last among them."""
    with pytest.raises(UserError) as raised:
        with_scores(lambda i: 5.0 if i == 1 else 0.0)
    prepared = pq.read_table(tmp_path / "work" / "scratch" / "prepared.parquet")
    row = prepared.filter(pc.field("split") == "train").to_pylist()[1]
    found = re.fullmatch(
        r"Before the first step the log-ratio of the pair (\w+) is ([\d.]+) nats a token where 0 within 0\.001 is "
        r"expected: the cached scores are not this model's; run `--force score`\.",
        str(raised.value),
    )
    assert found is not None, raised.value
    assert found[1] == row["pair_id"]
    assert float(found[2]) == pytest.approx(5.0 / len(row["chosen_ids"]), rel=0.05)  # two digits are shown


class _LaunchedError(Exception):
    pass


def _launch(*_: Any, **__: Any) -> None:
    raise _LaunchedError


@pytest.mark.parametrize("method", ["bdpo", "simpo"])
def test_the_reference_leaves_a_gpu_and_its_layout_to_the_training(
    method: str, with_scores: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Torch keeps what a model took for the next one of the same process; the training is another."""
    loaded: list[weakref.ref[object]] = []
    emptied: list[object] = []

    def noted(*places: Any, **settings: Any) -> Any:
        model = load_reference(*places, **settings)
        loaded.append(weakref.ref(model))
        return model

    monkeypatch.setattr("bdpo.training.score_check.load_reference", noted)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: emptied.append(loaded[0]()))
    monkeypatch.setattr("bdpo.training.stage.launch", _launch)
    with pytest.raises(_LaunchedError):
        with_scores(lambda i: 0.0, f"train.method={method}")
    assert emptied == [None]
    assert Job.read(tmp_path / "work" / "scratch" / "job.json").layout == "packed"


def test_early_stopping_without_anything_to_watch_is_refused(config: Path, tmp_path: Path) -> None:
    work = pipeline(config, "train.method=simpo", "train.early_stopping.patience=2")
    folder = next(planned.folder for planned in work.plan() if planned.stage == "ingest")
    table = pq.read_table(folder / "pairs.parquet")
    table = table.set_column(table.schema.get_field_index("split"), "split", pa.array(["train"] * len(table)))
    pq.write_table(table, tmp_path / "pairs.parquet")
    (tmp_path / "work" / "scratch").mkdir(parents=True)
    with pytest.raises(UserError, match=r"train\.early_stopping watches the validation split, which is empty"):
        train_on(work, tmp_path, tmp_path / "work", Silent())
