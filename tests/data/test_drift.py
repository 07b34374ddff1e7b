"""Drift by hand, and how it fails the stage."""

import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bdpo.artifacts.duck import connect
from bdpo.config import load_config
from bdpo.data.drift import measure_drift, population_stability
from bdpo.errors import UserError
from bdpo.pipeline import Pipeline
from data_checks import GreatExpectationsChecks
from tests.data.ingested import run
from tests.tiny_run import pair_rows, tiny_run, write_jsonl


def test_population_stability_by_hand() -> None:
    assert population_stability([50, 50], [25, 75]) == pytest.approx(-0.25 * math.log(0.5) + 0.25 * math.log(1.5))
    assert population_stability([3, 1], [30, 10]) == 0
    gone = population_stability([1, 1], [0, 2])  # 0.5 against the least share, and 0.5 against 1
    assert gone == pytest.approx((1e-4 - 0.5) * math.log(1e-4 / 0.5) + 0.5 * math.log(2))


def row(chosen: str, rejected: str, safe: bool | None, category: str | None, prompt: str) -> dict[str, Any]:
    given = {"prompt": prompt, "chosen": chosen, "rejected": rejected, "rejected_safe": safe, "category": category}
    return {name: value for name, value in given.items() if value is not None}


def test_the_distances_of_two_sets_by_hand(tmp_path: Path) -> None:
    earlier = [row("aa", "bbbb", False, "x", "1"), row("aa", "bbbb", None, None, "2")]
    run(write_jsonl(tmp_path / "a.jsonl", earlier), tmp_path / "earlier")
    now = "(values (2, 4, false, 'x'), (2, 5, false, 'x'), (9, 9, true, 'x'), (9, 4, false, null))"
    with connect(tmp_path / "x.duckdb") as connection:
        figures = measure_drift(connection, now, tmp_path / "earlier")
    # Earlier lengths 2 2 4 4, now 2 2 4 4 5 9 9 9: at 4, all of the earlier ones against half.
    assert figures.response_length_ks == 0.5
    assert figures.unsafe_rejected_change == 0.25  # 1 of 2 against 3 of 4
    assert figures.category_psi == pytest.approx(population_stability([1, 1], [3, 1]))


def test_the_same_pairs_pass_and_others_fail_with_numbers(tmp_path: Path) -> None:
    rows = pair_rows(60)
    run(write_jsonl(tmp_path / "a.jsonl", rows), tmp_path / "earlier")
    none = dict.fromkeys(("max_response_length_ks", "max_unsafe_rejected_change", "max_category_psi"), 0)
    run(tmp_path / "a.jsonl", tmp_path / "same", drift={"previous": tmp_path / "earlier", **none})
    longer = [pair | {"chosen": pair["chosen"] + " And so on." * 20} for pair in rows]
    write_jsonl(tmp_path / "b.jsonl", longer)
    with pytest.raises(UserError, match=r"lengths from the previous artifact is 0\.500, allowed is at most 0\.1;"):
        run(tmp_path / "b.jsonl", tmp_path / "long", drift={"previous": tmp_path / "earlier"})
    write_jsonl(tmp_path / "c.jsonl", [pair for pair in rows if pair["category"] in ("garden", "garage")])
    with pytest.raises(UserError, match=r"labelled unsafe is 0\.500, allowed is at most 0\.1;"):
        run(tmp_path / "c.jsonl", tmp_path / "lopsided", drift={"previous": tmp_path / "earlier"})
    assert not (tmp_path / "lopsided" / "pairs.parquet").exists()


def test_a_previous_artifact_that_is_none_is_named(tmp_path: Path) -> None:
    path = tiny_run(tmp_path, ingest={"drift": {"previous": "gone"}})
    with pytest.raises(UserError, match=r"field `ingest\.drift\.previous`: there is no file .*gone/pairs\.parquet"):
        Pipeline(load_config(path), checks=GreatExpectationsChecks()).plan()


def test_another_file_of_that_name_is_named(tmp_path: Path) -> None:
    table = pa.table({"chosen": ["a"], "rejected": ["b"], "rejected_safe": [True], "category": [3]})
    pq.write_table(table, tmp_path / "pairs.parquet")
    with connect(tmp_path / "x.duckdb") as connection:
        with pytest.raises(UserError, match=r"no artifact of ingestion: its pairs\.parquet has no column `category`"):
            measure_drift(connection, "(values (2, 4, false, 'x'))", tmp_path)
        (tmp_path / "pairs.parquet").write_bytes(b"junk")
        with pytest.raises(UserError, match=r"no artifact of ingestion: its pairs\.parquet is broken"):
            measure_drift(connection, "(values (2, 4, false, 'x'))", tmp_path)
