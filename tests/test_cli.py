"""The commands as a user meets them: real processes, exit codes, one sentence for a mistake."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.paths import ROOT
from tests.tiny_run import tiny_run


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for Prefect's own files, so that nothing of the user's is touched."""
    return tmp_path_factory.mktemp("home")


def bdpo(*arguments: object, home: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PREFECT_HOME": str(home), "PYTHONPATH": str(ROOT), "COLUMNS": "200"}
    environment.pop("PREFECT_API_URL", None)
    command = [sys.executable, "-m", "bdpo.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=300)


def test_a_whole_run_then_a_cached_one_then_questions(tmp_path: Path, home: Path) -> None:
    config = tiny_run(tmp_path)
    first = bdpo("run", config, home=home)
    assert first.returncode == 0, first.stderr
    assert "base against aligned" in first.stdout
    assert "refusal of harmful prompts" in first.stdout
    assert "Traceback" not in first.stdout + first.stderr
    again = bdpo("run", config, home=home)
    assert again.returncode == 0, again.stderr
    assert again.stdout.count(" cached ") == 4
    only = bdpo("run", config, "--only", "ingest", "--force", "ingest", home=home)
    assert only.returncode == 0, only.stderr
    assert "computed" in only.stdout
    planned = bdpo("plan", config, "--set", "train.beta=0.2", home=home)
    assert planned.returncode == 0
    assert "train.beta: 0.1 -> 0.2" in planned.stdout
    asked = ("query", "select pair_id, weight_chosen from scored_pairs order by 1 limit 2")
    place = ("--artifacts", tmp_path / "artifacts")
    rows = json.loads(bdpo(*asked, "--format", "json", *place, home=home).stdout)
    assert [list(row) for row in rows] == [["pair_id", "weight_chosen"]] * 2
    lines = bdpo(*asked, "--format", "csv", *place, home=home).stdout.splitlines()
    assert lines == ["pair_id,weight_chosen", *(f"{row['pair_id']},{row['weight_chosen']}" for row in rows)]
    wrong = bdpo("query", "select * from nothing", *place, home=home)
    assert wrong.returncode == 1
    assert wrong.stderr.startswith("error: query: Catalog Error")
    assert "scored_pairs" in wrong.stderr


def sentence(result: subprocess.CompletedProcess[str]) -> str:
    """What a user reads of a mistake: exactly one line, and a failing exit code."""
    assert result.returncode == 1, result
    assert "Traceback" not in result.stderr
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, result.stderr
    return lines[0]


def test_mistakes_get_one_sentence(tmp_path: Path, home: Path) -> None:
    config = tiny_run(tmp_path, num_pairs=4)
    gone = sentence(bdpo("run", tmp_path / "gone.yaml", home=home))
    assert gone == f"error: {tmp_path}/gone.yaml: there is no such config file."
    unknown = sentence(bdpo("run", config, "--set", "train.betta=1", home=home))
    assert "unknown field `train.betta`: did you mean `beta`?" in unknown
    missing = sentence(bdpo("run", config, "--only", "train", home=home))
    assert "Stage train needs the artifact of ingest" in missing
    assert "--with-inputs" in missing
    (tmp_path / "pairs.jsonl").write_text('{"question": 1}\n')
    columns = sentence(bdpo("run", config, home=home))
    assert "the columns `question` are those of no known format" in columns
    (tmp_path / "model" / "model.safetensors").unlink()
    weights = sentence(bdpo("run", config, home=home))
    assert "holds no *.safetensors weights" in weights
    assert not list((tmp_path / "artifacts").glob("*/*/manifest.json"))


def test_a_query_before_any_run_says_so(tmp_path: Path, home: Path) -> None:
    result = bdpo("query", "select 1", "--artifacts", tmp_path, home=home)
    assert "there is no catalogue; run `bdpo run CONFIG` first" in sentence(result)
