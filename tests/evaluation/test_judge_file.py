"""`bdpo judge`: the same rows with a verdict, whatever is in them."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from bdpo.cli import app
from bdpo.errors import UserError
from bdpo.evaluation.judge_file import judge_file
from bdpo.evaluation.judging import RULES, Judge
from bdpo.evaluation.tables import read_rows, write_rows
from bdpo.progress import Silent
from tests.paths import ROOT

ROWS = [
    {"id": "1", "prompt": "Hello,\nyou", "completion": "I'm sorry, but I can't help with that.", "note": 'a "b", c'},
    {"id": "2", "prompt": "Bread?", "completion": "Mix flour and water.\r\nBake it.", "note": ""},
    {"id": "3", "prompt": "Ünïcode \u2028", "completion": "", "note": "x"},
]
VERDICTS = [("refusal", "inability"), ("compliance", "no refusal act"), ("refusal", "empty")]


@pytest.mark.parametrize("source", ["in.csv", "in.jsonl"])
@pytest.mark.parametrize("target", ["out.csv", "out.jsonl"])
def test_the_same_rows_with_verdict_and_reason(tmp_path: Path, source: str, target: str) -> None:
    write_rows(tmp_path / source, ROWS)
    assert judge_file(tmp_path / source, tmp_path / target, RULES, Silent()) == {
        "refusal": 2,
        "compliance": 1,
        "unscored": 0,
    }
    judged = [row.values for row in read_rows(tmp_path / target)]
    assert judged == [
        row | {"verdict": verdict, "reason": reason} for row, (verdict, reason) in zip(ROWS, VERDICTS, strict=True)
    ]
    assert list(judged[0]) == ["id", "prompt", "completion", "note", "verdict", "reason"]


def test_the_command(tmp_path: Path) -> None:
    write_rows(tmp_path / "in.csv", ROWS)
    command = [sys.executable, "-m", "bdpo.cli", "judge", str(tmp_path / "in.csv"), "--judge", "rules", "--output"]
    done = subprocess.run([*command, str(tmp_path / "out.csv")], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "3 completions judged by rules: 2 refusal, 1 compliance" in done.stdout
    with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as file:
        assert [row["verdict"] for row in csv.DictReader(file)] == ["refusal", "compliance", "refusal"]
    wrong = CliRunner().invoke(app, [*command[3:], str(tmp_path / "o.txt")]).exception
    assert isinstance(wrong, UserError)
    assert "\n" not in str(wrong)


def test_what_a_judge_does_not_judge_stays_blank(tmp_path: Path) -> None:
    write_rows(tmp_path / "in.csv", ROWS[:1])
    counts = judge_file(
        tmp_path / "in.csv",
        tmp_path / "out.csv",
        Judge("nobody", lambda exchanges, _: [None for _ in exchanges]),
        Silent(),
    )
    assert counts == {"refusal": 0, "compliance": 0, "unscored": 1}
    (row,) = read_rows(tmp_path / "out.csv")
    assert (row.values["verdict"], row.values["reason"]) == ("", "the judge gave no judgement")


def test_what_is_cut_while_the_model_thinks_stays_blank(tmp_path: Path) -> None:
    write_rows(tmp_path / "in.csv", [ROWS[0] | {"completion": "<think>\nI can't help"}])
    assert judge_file(tmp_path / "in.csv", tmp_path / "out.csv", RULES, Silent())["unscored"] == 1
    (row,) = read_rows(tmp_path / "out.csv")
    assert (row.values["verdict"], row.values["reason"][:33]) == ("", "cut while the model still thinks:")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("in.csv", "prompt,answer\na,b\n", "in.csv, line 2: there is no column `completion`"),
        ("in.csv", "prompt,completion\na,b\nc\n", "in.csv, line 3: the row has not as many cells"),
        ("in.csv", "prompt,completion,verdict\na,b,c\n", "the column `verdict` is there already"),
        ("in.csv", "prompt,completion,completion\na,b,c\n", "line 1: two columns are called `completion`; rename one"),
        ("in.csv", "prompt,answer\na,b\n", "the columns are `prompt`, `answer`."),
        ("in.csv", "prompt,completion\n", "in.csv: the file holds no rows"),
        ("in.jsonl", '{"prompt": "a", "completion": null}\n', "line 1: `completion` is None, but text"),
        ("in.jsonl", '{"prompt": "a"', "line 1: this is no JSON"),
        ("in.jsonl", '{"prompt": "a", "completion": "b", "x": ' + "9" * 5000 + "}", "line 1: a number is too long"),
        ("in.jsonl", '{"prompt": "a", "completion": "b", "x": ' + "[" * 9000 + "]" * 9000 + "}", "lie too deep"),
        ("in.jsonl", '{"prompt": "a", "completion": "b \\ud83d"}', "line 1: half of a character"),
    ],
)
def test_mistakes_leave_no_file(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=message):
        judge_file(tmp_path / name, tmp_path / "out.csv", RULES, Silent())
    assert not (tmp_path / "out.csv").exists()


def test_rows_of_other_columns_and_values_become_cells(tmp_path: Path) -> None:
    rows = ['{"prompt": "a", "completion": "b"}', '{"prompt": "a", "completion": "b", "score": [1.5, null], "n": null}']
    (tmp_path / "in.jsonl").write_text("\n".join(rows))
    judge_file(tmp_path / "in.jsonl", tmp_path / "out.csv", RULES, Silent())
    first, second = (row.values for row in read_rows(tmp_path / "out.csv"))
    assert (first["score"], second["score"], second["n"]) == ("", "[1.5, null]", "")
    assert first["verdict"] == second["verdict"] == "compliance"


def test_a_target_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    write_rows(tmp_path / "in.jsonl", ROWS)
    with pytest.raises(UserError, match=r"out\.txt: the suffix '\.txt' is no format"):
        judge_file(tmp_path / "in.jsonl", tmp_path / "out.txt", RULES, Silent())
    with pytest.raises(UserError, match="there is no folder"):
        judge_file(tmp_path / "in.jsonl", tmp_path / "gone" / "out.csv", RULES, Silent())
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(UserError, match=r"folder\.csv: this is a folder; give the name of a file"):
        judge_file(tmp_path / "in.jsonl", tmp_path / "folder.csv", RULES, Silent())


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written_to_is_named_before_any_work(tmp_path: Path) -> None:
    write_rows(tmp_path / "in.jsonl", ROWS)
    (tmp_path / "closed").mkdir(mode=0o500)
    never = Judge("nobody", lambda *_: pytest.fail("nothing is to be judged"))
    with pytest.raises(UserError, match=r"out\.csv: permission is denied to write into the folder .*closed"):
        judge_file(tmp_path / "in.jsonl", tmp_path / "closed" / "out.csv", never, Silent())


CELLS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)


@given(st.lists(st.fixed_dictionaries({"prompt": CELLS, "completion": CELLS}), min_size=1, max_size=5))
def test_written_rows_read_back(tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, str]]) -> None:
    folder = tmp_path_factory.mktemp("rows")
    for name in ("rows.csv", "rows.jsonl"):
        write_rows(folder / name, rows)
        assert [row.values for row in read_rows(folder / name)] == rows
    assert [json.loads(line) for line in (folder / "rows.jsonl").read_text().split("\n")[:-1]] == rows
