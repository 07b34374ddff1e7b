"""The artifact as others read it: `datasets` and TRL, offline."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.data.ingested import run
from tests.paths import ROOT
from tests.tiny_run import pair_rows, write_jsonl

# In a process of its own: `datasets` reads its switches when it is imported.
LOAD = """
import json, sys
from datasets import load_dataset
loaded = load_dataset(sys.argv[1], cache_dir=sys.argv[2])
print(json.dumps({split: list(rows) for split, rows in loaded.items()}))
"""
TRAIN = """
import sys, torch
from pathlib import Path
from datasets import load_dataset
from trl import DPOConfig, DPOTrainer
from tests.tiny import tiny_model, tiny_tokenizer
loaded = load_dataset(sys.argv[1], cache_dir=sys.argv[2])
options = DPOConfig(sys.argv[3], max_steps=1, per_device_train_batch_size=2, report_to=[], use_cpu=True, bf16=False)
trainer = DPOTrainer(tiny_model(), tiny_model(), options, train_dataset=loaded["train"],
                     eval_dataset=loaded["validation"], processing_class=tiny_tokenizer())
trainer.train()
print(f"loss {trainer.state.log_history[-1]['train_loss']:.4f}")
"""


def offline(program: str, *arguments: Path) -> str:
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", program, *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.splitlines()[-1]


def test_the_folder_loads_as_splits_of_conversations(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "x.jsonl", [*pair_rows(40), {"prompt": "Q", "chosen": "", "rejected": "b"}])
    run(tmp_path / "x.jsonl", tmp_path / "out", validation_fraction=0.3)
    loaded = json.loads(offline(LOAD, tmp_path / "out", tmp_path / "cache"))
    pairs = pq.read_table(tmp_path / "out" / "pairs.parquet").to_pylist()
    assert set(loaded) == {"train", "validation"}
    for split, rows in loaded.items():
        assert rows == [
            {
                "pair_id": pair["pair_id"],
                "prompt": pair["prompt"],
                "chosen": [{"role": "assistant", "content": pair["chosen"]}],
                "rejected": [{"role": "assistant", "content": pair["rejected"]}],
            }
            for pair in pairs
            if pair["split"] == split
        ]
    assert sum(map(len, loaded.values())) == 40


def test_without_held_out_pairs_there_is_one_split(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "x.jsonl", pair_rows(5))
    run(tmp_path / "x.jsonl", tmp_path / "out", validation_fraction=0.3)
    run(tmp_path / "x.jsonl", tmp_path / "out", validation_fraction=0.0)
    assert [path.name for path in (tmp_path / "out" / "dataset").iterdir()] == ["train.parquet"]
    assert {
        split: len(rows) for split, rows in json.loads(offline(LOAD, tmp_path / "out", tmp_path / "c")).items()
    } == {"train": 5}


def test_trl_trains_on_it(tmp_path: Path) -> None:
    pytest.importorskip("trl", reason="TRL is in the extra `bench`")
    write_jsonl(tmp_path / "x.jsonl", pair_rows(12))
    run(tmp_path / "x.jsonl", tmp_path / "out", validation_fraction=0.3)
    assert offline(TRAIN, tmp_path / "out", tmp_path / "cache", tmp_path / "trained") == "loss 0.6931"


def test_the_card_counts_and_escapes(tmp_path: Path) -> None:
    source = tmp_path / "a`<b>|c.jsonl"
    write_jsonl(source, pair_rows(20))
    run(source, tmp_path / "out", validation_fraction=0.3)
    card = (tmp_path / "out" / "README.md").read_text()
    splits = Counter(pq.read_table(tmp_path / "out" / "pairs.parquet")["split"].to_pylist())
    assert all(f"| {split} | {count} |" in card for split, count in splits.items())
    assert "`a'(b)/c` (20)" in card
