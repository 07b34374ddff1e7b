"""Which cached scores are taken for the reference model's."""

from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bdpo.config import ModelSettings
from bdpo.errors import UserError
from bdpo.layout.rows import Layout, Row
from bdpo.logprobs.score import score_rows
from bdpo.models.source import resolve_model
from bdpo.training.prepare import PREPARED
from bdpo.training.score_check import check_scores, find_layout
from tests.tiny import save_tiny, tiny_model

ROWS = [Row((5, 6, 7 + i), (tuple(range(10, 14 + i)), tuple(range(40, 42 + i)))) for i in range(20)]
"""The first has responses of 4 and 2 tokens, the last of 23 and 21."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("model"))


def check(model: Path, prepared: Path, **added: tuple[int, float]) -> Layout:
    """Check the model's own scores, with so many nats added to a side of the i-th of twenty pairs."""
    passes = score_rows(tiny_model(), ROWS, token_budget=512, layout=Layout.PLAIN)
    scores = {i: logps for each in passes for i, logps in zip(each.indices, each.logps, strict=True)}
    records = []
    for i, row in enumerate(ROWS):
        sums = {
            side: float(logps.sum(dtype="float64")) + (added[side][1] if side in added and added[side][0] == i else 0.0)
            for side, logps in zip(("chosen", "rejected"), scores[i], strict=True)
        }
        records.append(
            {
                "pair_id": f"p{i}",
                "split": "train",
                "prompt_ids": row.prompt_ids,
                "unsafe_difference": 0.0,
                **{f"{side}_ids": ids for side, ids in zip(("chosen", "rejected"), row.responses, strict=True)},
                **{f"ref_{side}_logps": logp for side, logp in sums.items()},
                **{f"{name}_{side}": 1.0 for name in ("mi", "weight") for side in ("chosen", "rejected")},
            }
        )
    pq.write_table(pa.Table.from_pylist(records, PREPARED), prepared)
    source, settings = resolve_model(str(model)), ModelSettings(path=str(model), dtype="float32")
    return check_scores(prepared, source, settings, 4096, print)


def test_what_rounding_changes_a_token_by_passes_and_more_is_refused(folder: Path, tmp_path: Path) -> None:
    """Allowed are 0.023 of the last pair's chosen response, 0.008 of the first's rejected one: of eight tokens."""
    assert check(folder, tmp_path / "x.parquet", chosen=(19, 0.02), rejected=(0, -0.007)) is Layout.PACKED
    with pytest.raises(UserError, match="log-prob of the chosen response of pair p19 is"):
        check(folder, tmp_path / "x.parquet", chosen=(19, 0.03))
    with pytest.raises(UserError, match="log-prob of the rejected response of pair p0 is"):
        check(folder, tmp_path / "x.parquet", rejected=(0, -0.009))


@pytest.mark.parametrize("side", ["chosen", "rejected"])
@pytest.mark.parametrize("added", [-0.5, 0.5, float("nan")])
def test_a_score_of_either_side_that_is_not_the_models_is_named(
    side: str, added: float, folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=f"log-prob of the {side} response of pair p0 is"):
        check(folder, tmp_path / "x.parquet", **{side: (0, added)})


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_the_layout_of_a_training_without_scores_is_found_too(
    attention: Literal["sdpa", "eager"], folder: Path
) -> None:
    said: list[str] = []
    settings = ModelSettings(path=str(folder), dtype="float32", attention=attention)
    found = find_layout(resolve_model(str(folder)), settings, said.append)
    assert found is (Layout.PACKED if attention == "sdpa" else Layout.PLAIN)
    assert len(said) == (attention == "eager")
