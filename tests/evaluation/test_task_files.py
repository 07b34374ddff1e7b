"""Tasks for lm-eval of a user's own: every file that their figures follow from counts, and no other."""

from pathlib import Path

import pytest

from bdpo.errors import UserError
from bdpo.evaluation.task_files import digest_tasks

TASK = """\
include: ../base.yaml
task: sums
dataset_path: json
dataset_kwargs:
  data_files: {test: data/sums.jsonl, validation: "data/more-*.jsonl"}
process_docs: !function utils.keep
metric_list:
  - metric: !function utils.right
"""
FILES = {
    "tasks/sums.yaml": TASK,
    "tasks/utils.py": "def right(items): return 1\n",
    "base.yaml": "output_type: generate_until\ninclude: [tasks/sums.yaml]\n",
    "helpers.py": "def near(a, b): return a == b\n",
    "data/sums.jsonl": "{}\n",
    "data/more-1.jsonl": "{}\n",
}


@pytest.fixture
def task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The task's YAML file; runs are started in the folder above."""
    for name, text in (FILES | {"notes.txt": "", "data/other.jsonl": ""}).items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "tasks" / "sums.yaml"


@pytest.mark.parametrize("name", FILES)
def test_a_change_of_any_of_its_files_is_another_task(task: Path, tmp_path: Path, name: str) -> None:
    before = digest_tasks([task])
    (tmp_path / name).write_text(FILES[name] + "\n")
    assert digest_tasks([task]) != before


def test_files_beside_it_are_none_of_its_own_and_its_place_is_free(
    task: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = digest_tasks([task])
    (tmp_path / "notes.txt").write_text("changed")
    (tmp_path / "data" / "other.jsonl").write_text("changed")
    assert digest_tasks([task]) == before
    elsewhere = tmp_path / "elsewhere"
    for name, text in FILES.items():
        (elsewhere / name).parent.mkdir(parents=True, exist_ok=True)
        (elsewhere / name).write_text(text)
    monkeypatch.chdir(elsewhere)
    assert digest_tasks([elsewhere / "tasks" / "sums.yaml"]) == before


def test_a_folder_of_data_counts_whole(task: Path, tmp_path: Path) -> None:
    task.write_text("task: t\ndataset_path: data\n")
    before = digest_tasks([task])
    (tmp_path / "data" / "other.jsonl").write_text("changed")
    assert digest_tasks([task]) != before


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("include: none.yaml\n", r"^field `evaluate\.lm_eval\.include\.0`: there is no file .*none\.yaml\.$"),
        ("task: [\n", r"^field `evaluate\.lm_eval\.include\.0`: .*sums\.yaml is no task of lm-eval: "),
    ],
)
def test_what_cannot_be_read_is_said(task: Path, text: str, said: str) -> None:
    task.write_text(text)
    with pytest.raises(UserError, match=said):
        digest_tasks([task])
