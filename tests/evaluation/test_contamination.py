"""Overlap of training and evaluation prompts, by hand."""

from pathlib import Path

import pyarrow as pa

from bdpo.artifacts.parquet import write_parquet
from bdpo.evaluation.benchmarks import Benchmark
from bdpo.evaluation.contamination import find_contamination
from bdpo.evaluation.formats import Prompt


def test_same_texts_and_shared_runs_of_the_training_split(tmp_path: Path) -> None:
    def pair(text: str, split: str) -> dict[str, object]:
        return {"prompt": [{"role": "user", "content": text}], "split": split}

    pairs = [
        pair("One two three four five six seven eight NINE!", "train"),
        pair("Hello there", "train"),
        pair("held out words are not what training has ever seen", "validation"),
    ]
    write_parquet(pa.Table.from_pylist(pairs), tmp_path / "pairs.parquet")
    texts = {
        "same": "one, two, three, four, five, six, seven, eight, nine",
        "run": "zero one two three four five six seven eight",
        "short": "hello there!",
        "held": "held out words are not what training has ever seen",
        "none": "two one four three six five eight seven nine ten",
    }
    benchmark = Benchmark("b", "prompts", [Prompt(k, t, "harmful", None) for k, t in texts.items()], {}, 0)
    found = find_contamination([(benchmark, p) for p in benchmark.prompts], tmp_path / "pairs.parquet")
    # `run` has two runs of eight words, of which training has the second.
    assert found == [
        {"benchmark": "b", "prompt_id": "same", "same": True, "shared": 1.0},
        {"benchmark": "b", "prompt_id": "run", "same": False, "shared": 0.5},
        {"benchmark": "b", "prompt_id": "short", "same": True, "shared": 0.0},
    ]
