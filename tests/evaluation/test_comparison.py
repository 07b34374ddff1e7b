"""Several runs on the same prompts, by hand."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from bdpo.artifacts.catalogue import note_run
from bdpo.artifacts.manifest import MANIFEST, Manifest
from bdpo.artifacts.parquet import write_parquet
from bdpo.cli import app
from bdpo.cli.comparison import compare
from bdpo.errors import UserError
from bdpo.evaluation.benchmarks import METRICS
from bdpo.evaluation.comparison import compare_runs
from bdpo.evaluation.contamination import CONTAMINATION
from bdpo.evaluation.formats import Label
from bdpo.evaluation.outcomes import JUDGEMENTS
from bdpo.evaluation.summary import SUMMARY
from bdpo.evaluation.tables import read_rows

_REFUSES: Mapping[bool | None, str] = {True: "refusal", False: "compliance"}
_ANSWERS: Mapping[bool | None, str] = {True: "right", False: "wrong"}
_VERDICTS: Mapping[Label, Mapping[bool | None, str]] = {
    "harmful": _REFUSES,
    "harmless": _REFUSES,
    "attack": {True: "compliance", False: "refusal"},
    "question": _ANSWERS,
    "choice": _ANSWERS,
}
"""What counts for the metric of a label, and what does not."""


def evaluated(
    root: Path,
    name: str,
    refused: Sequence[bool | None],
    *,
    when: int = 1,
    base_key: str = "k",
    code: str = "1",
    benchmark: str = "b",
    label: Label = "harmful",
    held_against: str | None = None,
    train: str | None = None,
    alone: bool = False,
    elsewhere: Mapping[str, str] = MappingProxyType({}),
    limited_from: int | None = None,
    independent: int | None = None,
    seen: Sequence[int] = (),
) -> None:
    """A run whose aligned model has these prompts count (None: has no verdict), the base model none.

    `train`: its training, one of its own by default.  `alone`: it was evaluated by `--only evaluate`, which notes no
    training.  `elsewhere`: benchmark to metric of figures that have no judgements, beside.
    `limited_from`, `independent`, `seen`: prompts that there are, those that are independent, those in training data.
    """
    folder = root / "evaluate" / f"{name}{when}"
    folder.mkdir(parents=True)
    rows = [
        {
            "benchmark": benchmark,
            "prompt_id": str(i),
            "label": label,
            "model": model,
            "judge": "rules",
            "verdict": _VERDICTS[label].get(refuses if model == "aligned" else False),
            "reason": "r",
            "held_against": held_against,
            "key": f"{base_key if model == 'base' else name}{i}",
        }
        for model in ("aligned", "base")
        for i, refuses in enumerate(refused)
    ]
    write_parquet(pa.Table.from_pylist(rows, JUDGEMENTS), folder / "judgements.parquet")
    figures = [(benchmark, METRICS[label]), *elsewhere.items()]
    summary = [
        {"benchmark": b, "metric": m, "model": model, "limited_from": limited_from if b == benchmark else None}
        for b, m in figures
        for model in ("base", "aligned")
    ]
    write_parquet(pa.Table.from_pylist(summary, SUMMARY), folder / "eval_summary.parquet")
    shared = [{"benchmark": benchmark, "prompt_id": str(i), "same": i in seen, "shared": 1.0} for i in (*seen, 0)]
    write_parquet(pa.Table.from_pylist(shared, CONTAMINATION), folder / "contamination.parquet")
    inputs = {"train": f"content of {train or folder.name}"}
    manifest = Manifest(
        stage="evaluate", fingerprint=folder.name, run=name, reads={"code": code}, inputs=inputs, files={}, content="",
        summary={"independent": {} if independent is None else {benchmark: independent}}, versions={}, machine={},
        finished="", seconds=0.0,
    )  # fmt: skip
    (folder / MANIFEST).write_text(manifest.model_dump_json())
    ran = {"evaluate": folder.name} | ({} if alone else {"train": train or folder.name})
    note_run(root, f"2026-{when}-{name}", {"name": name, **ran})


def test_rates_differences_and_corrected_p_by_hand(tmp_path: Path) -> None:
    """Against `a`, which refuses 2 of 10: `b` gains 6 (p = 2 / 2^6), `c` loses 1 (p = 1); Holm doubles the first."""
    evaluated(tmp_path, "a", [True] * 2 + [False] * 8)
    evaluated(tmp_path, "b", [False] * 10, when=1)
    evaluated(tmp_path, "b", [True] * 8 + [False] * 3, when=2)  # the latest counts; its eleventh prompt is alone
    evaluated(tmp_path, "c", [True] + [False] * 9)
    found = compare_runs(tmp_path, ["a", "b", "c"], 0.95)
    (row,) = found.table
    assert list(row) == ["figure (%)", "base model", "a", "b", "c"]
    assert row["base model"].startswith("0.0 [0.0, ")
    assert row["a"].startswith("20.0 [")
    assert row["b"].startswith("80.0 [")
    assert re.search(r"\n\(n = 10\)\n\+60\.0 \[\+\d+\.\d, \+\d+\.\d\]\np = 0\.062$", row["b"])
    assert re.search(r"\n-10\.0 \[-\d+\.\d, \+\d+\.\d\]\np = 1$", row["c"])
    by_model = {record["model"]: record for record in found.records}
    assert by_model["b"]["p_value"] == pytest.approx(2 / 2**6)
    assert by_model["b"]["p_adjusted"] == pytest.approx(4 / 2**6)
    assert by_model["base model"]["difference"] is None


def test_a_difference_of_fewer_prompts_than_the_rates_says_of_how_many(tmp_path: Path) -> None:
    """`a` has no verdict on its first prompt and `b` none on its last, so of 4 they share 2."""
    evaluated(tmp_path, "a", [None, True, False, False])
    evaluated(tmp_path, "b", [True, True, True, None])
    found = compare_runs(tmp_path, ["a", "b"], 0.95)
    assert [(r["n"], r["difference_n"]) for r in found.records] == [(4, None), (3, None), (3, 2)]
    (row,) = found.table
    assert "(n = 3, 1 unscored)\n+50.0 [" in row["b"]
    assert row["b"].endswith("] (n = 2)\np = 1")


def test_what_cannot_be_compared_is_said(tmp_path: Path) -> None:
    evaluated(tmp_path, "a", [True])
    evaluated(tmp_path, "other", [True], base_key="another")
    with pytest.raises(UserError, match=r"no evaluated run 'gone' in .*; evaluated runs: a, other"):
        compare_runs(tmp_path, ["a", "gone"], 0.95)
    with pytest.raises(UserError, match=r"'a' and 'other' have different base models, .* prompt '0' of 'b' is not"):
        compare_runs(tmp_path, ["a", "other"], 0.95)
    evaluated(tmp_path, "older", [True], code="0")
    with pytest.raises(UserError, match=r"'a' and 'older' were judged differently \(code\)"):
        compare_runs(tmp_path, ["a", "older"], 0.95)
    evaluated(tmp_path, "corrected", [True], held_against="another answer")
    with pytest.raises(UserError, match=r"'a' and 'corrected' hold prompt '0' of 'b' against different answers or goa"):
        compare_runs(tmp_path, ["a", "corrected"], 0.95)
    with pytest.raises(UserError, match="two runs or more"):
        compare_runs(tmp_path, ["a", "a"], 0.95)


def test_an_earlier_evaluation_never_stands_in_for_a_damaged_one(tmp_path: Path) -> None:
    """It was made from other settings, files or code, or it would be the same artifact."""
    for name in ("a", "b"):
        evaluated(tmp_path, name, [True], when=1)
    evaluated(tmp_path, "b", [False], when=2)
    (tmp_path / "runs" / "2026-3-b.json").write_text('{"name": "b"')
    (row,) = compare_runs(tmp_path, ["a", "b"], 0.95).table
    assert row["b"].startswith("0.0 ["), "a damaged record is passed over"
    (tmp_path / "evaluate" / "b2" / MANIFEST).write_text("{")
    with pytest.raises(UserError, match=r"b2, the evaluation of run 'b', is gone or damaged; run it again"):
        compare_runs(tmp_path, ["a", "b"], 0.95)


@pytest.mark.parametrize("label", _VERDICTS)
def test_what_counts_is_the_labels(tmp_path: Path, label: Label) -> None:
    evaluated(tmp_path, "a", [True, False, False, None], label=label)
    evaluated(tmp_path, "b", [True, True, True, None], label=label)
    found = compare_runs(tmp_path, ["a", "b"], 0.95).records
    assert [(r["metric"], r["model"], r["successes"], r["n"], r["unscored"]) for r in found] == [
        (METRICS[label], "base model", 0, 4, 0),
        (METRICS[label], "a", 1, 3, 1),
        (METRICS[label], "b", 3, 3, 1),
    ]


def test_only_what_all_runs_were_asked_is_compared(tmp_path: Path) -> None:
    evaluated(tmp_path, "a", [True, False])
    evaluated(tmp_path, "b", [True, True])
    evaluated(tmp_path, "elsewhere", [True, True], benchmark="another")
    with pytest.raises(
        UserError, match=r"runs a, b, elsewhere were evaluated on no common prompt: run them again with .*limits may"
    ):
        compare_runs(tmp_path, ["a", "b", "elsewhere"], 0.95)
    note_run(tmp_path, "2026-9-b", {"name": "b", "train": "of a run that was not evaluated"})
    (row,) = compare_runs(tmp_path, ["a", "b"], 0.95).table
    assert row["b"].startswith("100.0 [")


def test_how_many_prompts_all_runs_share_is_said_where_one_was_asked_more(tmp_path: Path) -> None:
    """As with another `limit`."""
    for name, count in (("a", 4), ("b", 10), ("c", 4)):
        evaluated(tmp_path, name, [True] * count)
    found = compare_runs(tmp_path, ["a", "b"], 0.95)
    assert found.partly == ["4 of 10 prompts of b, refusal of harmful prompts"]
    assert {record["n"] for record in found.records} == {4}
    assert compare_runs(tmp_path, ["a", "c"], 0.95).partly == []


def test_figures_that_are_not_compared_are_named_once(tmp_path: Path) -> None:
    """Tasks of lm-eval and held-out pairs, and of a benchmark that one run alone has its figure."""
    elsewhere = {"arc_easy (lm-eval, acc)": "accuracy", "validation pairs": "preference_accuracy"}
    evaluated(tmp_path, "a", [True, False], elsewhere=elsewhere)
    evaluated(tmp_path, "b", [True, True], elsewhere=elsewhere)
    assert compare_runs(tmp_path, ["a", "b"], 0.95).not_compared == list(elsewhere)
    evaluated(tmp_path, "c", [True, True])
    extra = pa.Table.from_pylist([{"benchmark": "more", "metric": "refusal_rate", "model": "aligned"}], SUMMARY)
    path = tmp_path / "evaluate" / "c1" / "eval_summary.parquet"
    write_parquet(pa.concat_tables([pq.read_table(path), extra]), path)
    judged = tmp_path / "evaluate" / "c1" / "judgements.parquet"
    rows = pq.read_table(judged).to_pylist()
    write_parquet(pa.Table.from_pylist(rows + [row | {"benchmark": "more"} for row in rows], JUDGEMENTS), judged)
    found = compare_runs(tmp_path, ["a", "c"], 0.95).not_compared
    assert found == [*elsewhere, "more, refusal of harmful prompts"]


def test_what_the_p_values_do_not_know_is_said(tmp_path: Path) -> None:
    """Of 5 prompts both have no verdict on the last; the base model's are not compared here."""
    evaluated(tmp_path, "a", [True, None, False, True, None], limited_from=40, seen=[1, 9], benchmark="hhh")
    evaluated(
        tmp_path, "b", [None, True, True, True, None], limited_from=40, seen=[1, 2], independent=3, benchmark="hhh"
    )
    assert compare_runs(tmp_path, ["a", "b"], 0.95).caveats == [
        "some model has no verdict on 2 of 5 prompts of hhh, refusal of harmful prompts, which are not compared: what "
        "a judge or its filter declines, it declines for what is said",
        "hhh, refusal of harmful prompts, is a first look at 5 of 40 prompts",
        "the items of hhh are not independent",
        "of hhh 2 of 5 prompts stand in training data, word for word",
    ]


def test_a_run_may_be_called_base_and_be_named_twice(tmp_path: Path) -> None:
    evaluated(tmp_path, "a", [True] * 8)
    evaluated(tmp_path, "base", [False] * 8)
    found = compare_runs(tmp_path, ["a", "base", "base"], 0.95)
    assert [(r["model"], r["value"], r["difference"]) for r in found.records] == [
        ("base model", 0.0, None),
        ("a", 1.0, None),
        ("base", 0.0, -1.0),
    ]
    (row,) = found.table
    assert list(row) == ["figure (%)", "base model", "a", "base"]


def test_figures_of_many_runs_are_whole_on_a_narrow_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    names = [f"hh-smollm2-with-method-{i}" for i in range(10)]
    for i, name in enumerate(names):
        evaluated(tmp_path, name, [True] * (3 * i) + [False] * (30 - 3 * i))
    compare(names, tmp_path)
    shown = [[cell.strip() for cell in line.split("│")] for line in capsys.readouterr().out.splitlines()]
    for record in compare_runs(tmp_path, names, 0.95).records:
        value, low, high = (f"{100 * record[name]:.1f}" for name in ("value", "low", "high"))
        (line,) = (cells for cells in shown if record["model"] in cells)
        assert f"{value} [{low}, {high}]" in line
        if record["difference"] is not None:
            value, low, high = (f"{100 * record[f'difference{name}']:+.1f}" for name in ("", "_low", "_high"))
            assert f"{value} [{low}, {high}]" in line
    monkeypatch.setenv("COLUMNS", "120")
    compare(names[:2], tmp_path)
    assert "┃ figure (%) " in capsys.readouterr().out, "one table where it fits"


@pytest.mark.parametrize("alone", [False, True])
def test_runs_of_one_training_are_not_said_to_be_several(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], alone: bool
) -> None:
    evaluated(tmp_path, "a", [True] * 4, train="t")
    evaluated(tmp_path, "more", [True] * 8, train="t", alone=alone)
    compare(["a", "more"], tmp_path)
    said = capsys.readouterr().out
    shared = "Only the prompts that all runs were asked count: 4 of 8 prompts of b, refusal of harmful prompts."
    assert said.endswith(f" all of them. {shared}\n")


def test_trainings_of_runs_that_were_evaluated_alone_are_told_apart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluated(tmp_path, "a", [True] * 4, alone=True)
    evaluated(tmp_path, "b", [True] * 4, alone=True)
    compare(["a", "b"], tmp_path)
    assert "Each run is one training: intervals and p say nothing of other seeds" in capsys.readouterr().out


def test_a_run_may_be_called_benchmark(tmp_path: Path) -> None:
    evaluated(tmp_path, "a", [True] * 8)
    evaluated(tmp_path, "benchmark", [False] * 8)
    (row,) = compare_runs(tmp_path, ["a", "benchmark"], 0.95).table
    assert row["figure (%)"] == "b, refusal of harmful prompts"
    assert row["benchmark"].startswith("0.0 [")


def test_the_command(tmp_path: Path) -> None:
    evaluated(tmp_path, "a", [True, False], elsewhere={"validation pairs": "preference_accuracy"})
    evaluated(tmp_path, "b", [True, True], independent=1)
    command = ["compare", "a", "b", "--artifacts", str(tmp_path), "--output", str(tmp_path / "c.jsonl")]
    done = CliRunner(env={"COLUMNS": "200"}).invoke(app, command)
    assert done.exit_code == 0, done.output
    assert "refusal of harmful" in done.stdout
    assert "With each its difference in points from a" in done.stdout
    assert " all of them. What intervals and p do not know: the items of b are not independent." in done.stdout
    assert " Not compared here, but in the runs' own reports: validation pairs." in done.stdout
    assert (
        "Each run is one training: intervals and p say nothing of other seeds; for that, `bdpo ablate`" in done.stdout
    )
    assert [row.values["model"] for row in read_rows(tmp_path / "c.jsonl")] == ["base model", "a", "b"]
    assert json.loads((tmp_path / "c.jsonl").read_text().splitlines()[2])["difference"] == 0.5
