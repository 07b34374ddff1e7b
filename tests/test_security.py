"""What comes from outside stays data: places in rows and settings, markup, and secrets of the environment."""

import re
from pathlib import Path

import pytest

from bdpo.config import load_config
from bdpo.errors import UserError
from bdpo.pipeline import Pipeline
from data_checks import GreatExpectationsChecks
from tests.tiny_run import pair_rows, tiny_run, write_jsonl

SECRETS = {
    "HF_TOKEN": "hf_secretOfTheHub",
    "AWS_SECRET_ACCESS_KEY": "secretOfTheBucket",
    "OPENAI_API_KEY": "sk-secretOfTheJudge",
    "WANDB_API_KEY": "secretOfTheTracker",
}
PLACE = "../../../outside"
MARKUP = "<script>hostile()</script>"


def test_rows_reach_no_place_and_no_page_and_secrets_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "inner").mkdir()
    config = tiny_run(tmp_path / "inner", num_pairs=8)
    rows = pair_rows(8)
    for row, text in zip(rows, (PLACE, "/etc/outside", MARKUP, f"{PLACE}\x00"), strict=False):
        row |= {"category": text, "source": text, "pair_id": text, "chosen": f"{text} {row['chosen']}"}
    rows.append({"prompt": MARKUP, "chosen": "same", "rejected": "same", "category": MARKUP})
    write_jsonl(config.parent / "pairs.jsonl", rows)
    before = {path for path in tmp_path.rglob("*") if "artifacts" not in path.parts}
    summary = Pipeline(load_config(config), checks=GreatExpectationsChecks()).run_stage("ingest").summary
    assert summary["pairs"] >= 6
    assert {path for path in tmp_path.rglob("*") if "artifacts" not in path.parts} == before
    written = [path for path in (config.parent / "artifacts").rglob("*") if path.is_file()]
    assert {"manifest.json", "pairs.parquet", "index.html"} <= {path.name for path in written}
    for path in written:
        content = path.read_bytes()
        assert not any(secret.encode() in content for secret in SECRETS.values()), path
        if path.suffix == ".html":
            assert b"hostile()" not in content, path
        assert re.fullmatch(r"[\w.=-]+", path.name), path


@pytest.mark.parametrize("name", [PLACE, "/etc/outside", "a/b", "..", ".hidden", "a b", MARKUP, "x\ny"])
def test_a_name_of_a_run_is_no_path(tmp_path: Path, name: str) -> None:
    config = tiny_run(tmp_path, num_pairs=4)
    with pytest.raises(UserError, match="field `name`"):
        load_config(config, [f'name="{name}"' if "\n" not in name else 'name="x\\ny"'])
