"""Scoring: what is stored, what is never done twice, and what is refused."""

import shutil
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from filelock import FileLock, Timeout
from transformers import AutoModelForCausalLM, PreTrainedModel

from bdpo.artifacts.catalogue import run_records
from bdpo.config import load_config
from bdpo.errors import UserError
from bdpo.layout.rows import Batch
from bdpo.logprobs import response_logps
from bdpo.logprobs.proof import trial_rows
from bdpo.pipeline import Pipeline
from bdpo.progress import Silent
from bdpo.schemas import RowFailure
from bdpo.scoring.merge import merge
from bdpo.scoring.parallel import Done, _failure
from data_checks import GreatExpectationsChecks
from tests.scoring.runs import Told, made, score, scores, shards_in
from tests.tiny import CHATML, tiny_model, tiny_tokenizer
from tests.tiny_run import pair_rows, tiny_run, write_jsonl


def test_scores_are_the_models_own(tmp_path: Path) -> None:
    folder, _ = score(tiny_run(tmp_path, 6))
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model").eval()
    tokenizer = tiny_tokenizer()

    def logp(prompt: str, response: str) -> float:
        start = tokenizer(f"<|im_start|>user\n{prompt}<|im_end|>\n<|im_start|>assistant\n")["input_ids"]
        answer = tokenizer(f"{response}<|im_end|>")["input_ids"]
        with torch.no_grad():
            logits = model(torch.tensor([start + answer])).logits[0, len(start) - 1 : -1].double()
        return float(logits.log_softmax(-1).gather(-1, torch.tensor(answer)[:, None]).sum())

    for row in scores(folder).values():
        prompt = row["prompt"][0]["content"]
        for side in ("chosen", "rejected"):
            tokens = len(row[side].encode()) + 1
            assert row[f"{side}_tokens"] == tokens
            assert row[f"ref_{side}_logps"] == pytest.approx(logp(prompt, row[side]), abs=1e-5 * tokens)
            assert row[f"null_{side}_logps"] == pytest.approx(logp("", row[side]), abs=1e-5 * tokens)
            mi = (row[f"ref_{side}_logps"] - row[f"null_{side}_logps"]) / tokens
            assert row[f"mi_{side}"] == pytest.approx(mi, rel=1e-12)
        assert row["imbalance"] == row["mi_chosen"] - row["mi_rejected"]


def test_the_store_can_be_queried_without_its_keys(tmp_path: Path) -> None:
    folder, summary = score(tiny_run(tmp_path, 6))
    with duckdb.connect(str(folder / "scores.duckdb"), read_only=True) as connection:
        rows = connection.execute(
            "select count(*), max(abs(imbalance - (mi_chosen - mi_rejected))) < 1e-12 from scored_pairs"
        ).fetchall()
        tokens = connection.execute(
            "select bool_and(len(logps) = n_tokens and abs(list_sum(logps) - logp_sum) < 1e-3), count(*) from sequences"
        ).fetchall()
    assert rows == [(6, True)]
    assert tokens == [(True, summary["sequences"])]


def test_what_changes_a_score_is_noticed_and_what_does_not_is_not(tmp_path: Path) -> None:
    config = tiny_run(tmp_path, 8)
    artifact, first = score(config)
    assert (first["sequences"], first["sequences_reused"]) == (32, 0)
    assert score(config, "score.shard_sequences=8", "train.beta=0.3") == (artifact, first)
    # Fewer pairs make another artifact out of the same scores.
    write_jsonl(tmp_path / "pairs.jsonl", pair_rows(7))
    _, fewer = score(config)
    assert (fewer["sequences_reused"], fewer["sequences_scored"], fewer["tokens_scored"]) == (28, 0, 0)
    write_jsonl(tmp_path / "pairs.jsonl", pair_rows(10))
    _, more = score(config)
    assert (more["sequences_scored"], more["sequences_reused"]) == (8, 32)
    tiny_model(seed=1).save_pretrained(tmp_path / "model")
    _, other = score(config)
    assert other["sequences_scored"] == 40


@pytest.mark.parametrize("processes", [1, 2])
def test_weights_that_change_before_they_are_loaded_leave_no_scores_under_the_old_name(
    tmp_path: Path, processes: int
) -> None:
    """As when the run has waited for another one's scoring; put back, the old ones would be taken for scored."""
    config = tiny_run(tmp_path, 6, score={"processes": processes})
    weights = tmp_path / "model" / "model.safetensors"
    content = weights.read_bytes()

    class Editing(Silent):
        def begin(self, task: str, total: int, unit: str, done: int = 0) -> None:
            tiny_model(seed=1).save_pretrained(tmp_path / "model")

    with pytest.raises(UserError, match=r"The model in .*/model was changed after this run had looked at it"):
        score(config, progress=Editing())
    weights.write_bytes(content)
    _, again = score(config, "score.processes=1")
    assert again["sequences_scored"] == again["sequences"]


def test_forced_scores_are_computed_again_and_no_others(tmp_path: Path) -> None:
    """What the cache has of these pairs is not taken on trust; what it has for other pairs stays."""
    config = tiny_run(tmp_path, 6)
    _, first = score(config)
    write_jsonl(tmp_path / "pairs.jsonl", pair_rows(4))
    folder, again = score(config, force=True)
    assert (again["sequences_scored"], again["sequences_reused"]) == (again["sequences"], 0)
    assert len(scores(folder)) == 4
    write_jsonl(tmp_path / "pairs.jsonl", pair_rows(7))
    _, more = score(config)
    assert more["sequences_reused"] == first["sequences"]
    shards = shards_in(tmp_path / "artifacts" / "cache" / "sequences")
    keys = [key for path in shards for key in pq.read_table(path)["key"].to_pylist()]
    assert len(keys) == len(set(keys)) == more["sequences"]


def test_nobody_takes_scores_out_again_before_they_are_gathered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run of other pairs that forces the stage waits for the scorer's lock, to delete shards once it has it."""
    gathered = []

    def gathering(path: Path, **arguments: Any) -> pa.Table:
        (lock,) = (tmp_path / "artifacts" / "cache" / "sequences").glob("*.lock")
        with pytest.raises(Timeout):
            FileLock(lock).acquire(timeout=0)
        gathered.append(path)
        return merge(path, **arguments)

    monkeypatch.setattr("bdpo.scoring.stage.merge", gathering)
    score(tiny_run(tmp_path, 6))
    assert gathered


def test_only_new_tokens_go_through_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted where they enter the decoder, the trial of the layout left out."""
    pushed: list[int] = []

    def counting(model: PreTrainedModel, batch: Batch) -> torch.Tensor:
        pushed.append(len(batch.targets))
        return response_logps(model, batch)

    monkeypatch.setattr("bdpo.logprobs.score.response_logps", counting)
    config = tiny_run(tmp_path, 20)
    _, first = score(config)
    assert sum(pushed) == first["tokens_scored"] > 0
    pushed.clear()
    write_jsonl(tmp_path / "pairs.jsonl", pair_rows(19))
    _, fewer = score(config)
    assert not pushed
    assert fewer["sequences_reused"] == fewer["sequences"]
    write_jsonl(tmp_path / "pairs.jsonl", pair_rows(22))
    _, more = score(config)
    assert sum(pushed) == more["tokens_scored"]
    assert 0.05 < sum(pushed) / first["tokens_scored"] < 0.15, "10% more pairs cost about 10%"


@pytest.mark.parametrize(
    ("change", "noticed"),
    [
        ("template", True),
        ("tokenizer", True),
        ("model.dtype=bfloat16", True),
        ("model.attention=eager", True),
        ("model.max_length=200", True),
        ("model.max_prompt_length=20", True),
        ("train.beta=0.3", False),
        ("train.learning_rate=0.1", False),
        ("train.balance=softmax", False),
    ],
)
def test_the_artifact_is_named_by_what_it_depends_on(tmp_path: Path, change: str, noticed: bool) -> None:
    """A stale artifact is never taken, and what only training reads makes none stale."""
    config = tiny_run(tmp_path, 2)
    before = _plan(config)
    overrides = []
    if change == "template":
        tiny_tokenizer(CHATML.replace("user", "person").replace("\n", " ")).save_pretrained(tmp_path / "model")
    elif change == "tokenizer":
        file = tmp_path / "model" / "tokenizer.json"
        file.write_text(file.read_text().replace('"add_prefix_space": false', '"add_prefix_space": true'))
    else:
        overrides.append(change)
    assert (_plan(config, *overrides) != before) is noticed


def _plan(config: Path, *overrides: str) -> str:
    pipeline = Pipeline(load_config(config, overrides), checks=GreatExpectationsChecks())
    return pipeline.fingerprints["score"]


@pytest.mark.parametrize("change", ["model.dtype=bfloat16", "model.attention=eager", "model.max_prompt_length=30"])
def test_a_change_that_reaches_the_scores_scores_again(tmp_path: Path, change: str) -> None:
    config = tiny_run(tmp_path, 6)
    _, first = score(config)
    _, again = score(config, change)
    assert again["sequences_scored"] > 0
    if change.startswith("model.max_prompt_length"):
        assert again["sequences_reused"] == first["sequences"] // 2, "the unconditional half is the same"
    else:
        assert again["sequences_reused"] == 0


def test_a_pair_that_breaks_a_rule_stops_the_stage_and_is_named(tmp_path: Path) -> None:
    named: list[str] = []

    class Refusing(GreatExpectationsChecks):
        def scored_pairs(self, frame: pd.DataFrame) -> list[RowFailure]:
            named.append(frame["pair_id"].iloc[3])
            assert not super().scored_pairs(frame)
            return [RowFailure(3, "some_rule", "it is no score"), RowFailure(4, "other_rule", "it is none either")]

    work = Pipeline(load_config(tiny_run(tmp_path, 6)), checks=Refusing())
    work.run_stage("ingest")
    with pytest.raises(UserError) as raised:
        work.run_stage("score")
    assert str(raised.value) == f"score: the pair {named[0]} breaks the rule some_rule: it is no score."
    left = {path.name for path in (tmp_path / "artifacts" / "score").rglob("*")}
    assert "index.html" in left, "Data Docs show what is wrong"
    assert not left & {"scored_pairs.parquet", "manifest.json"}


def test_two_processes_give_the_rows_of_one_and_what_is_scored_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Passes of 300 tokens, dealt out; then again with one process, which finds nothing to do."""
    small = {"token_budget": 300, "shard_sequences": 8}
    alone, _ = score(tiny_run(made(tmp_path / "a"), 30, score=small))
    config = tiny_run(made(tmp_path / "b"), 30, score=small | {"processes": 2})
    told = Told()
    noted: dict[int, Done] = {}
    read = Done.read

    def noting(folder: Path, number: int) -> Done:
        noted[number] = read(folder, number)
        return noted[number]

    monkeypatch.setattr(Done, "read", noting)
    shared, summary = score(config, progress=told)
    assert summary["sequences_scored"] == summary["sequences"] > 0
    assert sum(told.steps) == told.total == summary["sequences"], "the progress of both adds up"
    assert noted.keys() == {0, 1}
    assert all(0 < done.kept < summary["sequences"] for done in noted.values()), "each has its share"
    for pair_id, row in scores(alone).items():
        for name, value in scores(shared)[pair_id].items():
            assert value == (pytest.approx(row[name], abs=1e-4) if isinstance(value, float) else row[name])
    shutil.rmtree(shared)
    _, again = score(config, "score.processes=1")
    assert again["sequences_scored"] == 0


@pytest.mark.slow
def test_compiled_two_processes_give_the_rows_of_one_and_take_none_of_those_that_are_not(tmp_path: Path) -> None:
    small = {"token_budget": 300, "shard_sequences": 8}
    config = tiny_run(made(tmp_path / "a"), 30, score=small)
    plain, _ = score(config)
    alone, summary = score(config, "model.compile=true")
    assert summary["sequences_reused"] == 0
    both = tiny_run(made(tmp_path / "b"), 30, score=small | {"processes": 2}, model={"compile": True})
    shared, _ = score(both)
    for pair_id, row in scores(plain).items():
        for other in (alone, shared):
            assert scores(other)[pair_id]["ref_chosen_logps"] == pytest.approx(row["ref_chosen_logps"], abs=1e-4)


def _cut(content: bytes) -> bytes:
    return content[:-40]


def _altered(content: bytes) -> bytes:
    """A bit of the rows; the footer, which says what rows there are, is as it was."""
    place = len(content) // 3
    return content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :]


@pytest.mark.parametrize(("harm", "by_share"), [(_cut, False), (_altered, False), (_altered, True)])
def test_a_damaged_shard_is_scored_again(tmp_path: Path, harm: Callable[[bytes], bytes], by_share: bool) -> None:
    """By the stage, which deletes it, or by a machine's share, which leaves alone what others may be writing."""
    config = tiny_run(tmp_path, 8)
    folder, _ = score(config)
    before = scores(folder)
    shard = sorted((tmp_path / "artifacts" / "cache").rglob("*.parquet"))[0]
    lost = pq.ParquetFile(shard).metadata.num_rows
    assert 0 < lost < 32
    shard.write_bytes(harm(shard.read_bytes()))
    shutil.rmtree(folder)
    if by_share:
        counts = Pipeline(load_config(config), checks=GreatExpectationsChecks()).score_share("1/1")
        assert counts == {"sequences": 32, "sequences_scored": lost, "sequences_reused": 32 - lost}
    folder, summary = score(config)
    assert summary["sequences_scored"] == (0 if by_share else lost)
    assert scores(folder) == before


@pytest.mark.parametrize("processes", [1, 2])
def test_a_log_prob_that_is_none_stops_and_names_its_pair(tmp_path: Path, processes: int) -> None:
    """One byte has no embedding, so that one response of one pair has none; others share its forward pass."""
    config = tiny_run(tmp_path, 6, score={"processes": processes})
    rows = pair_rows(6)
    rows[4]["chosen"] += f"Caf{_UNTRIED} first."
    write_jsonl(tmp_path / "pairs.jsonl", rows)
    model = tiny_model()
    with torch.no_grad():
        model.get_input_embeddings().weight[_byte_ids(_UNTRIED)[-1]] = float("nan")
    model.save_pretrained(tmp_path / "model")
    with pytest.raises(UserError) as raised:
        score(config)
    (pairs,) = (tmp_path / "artifacts" / "ingest").glob("*/pairs.parquet")
    named = [row["pair_id"] for row in pq.read_table(pairs).to_pylist() if _UNTRIED in row["chosen"]]
    assert str(raised.value).startswith(
        f"score: the model gives a token of the pair {named[0]} the log-prob nan, which"
    )
    assert not list((tmp_path / "artifacts" / "score").glob("*/manifest.json"))


def _byte_ids(text: str) -> list[int]:
    ids: list[int] = tiny_tokenizer()(text)["input_ids"]
    return ids


_TRIED = {i for row in trial_rows(tiny_model(), 256) for i in (*row.prompt_ids, *chain(*row.responses))}
_UNTRIED = next(c for c in map(chr, range(0xC0, 0x100)) if _byte_ids(c)[-1] not in _TRIED)
"""A character with a byte that the trial of the layout, with its random tokens, does not meet."""


def test_want_of_memory_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token budget that is too large for the device is the likeliest mistake there."""
    monkeypatch.setattr("bdpo.logprobs.score.response_logps", lambda *_: torch.empty(2**60))
    with pytest.raises(UserError, match=r"score: there is too little memory \(.*\); lower score\.token_budget, or"):
        score(tiny_run(tmp_path, 4))
    (record,) = run_records(tmp_path / "artifacts")[-1:]
    assert record["error"].startswith("score: there is too little memory")


def test_want_of_memory_in_one_of_several_processes_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "1.log").write_text("Traceback\ntorch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB.\n")
    failure = _failure(tmp_path, 1, 1)
    assert isinstance(failure, UserError)
    assert "lower score.token_budget or score.processes" in str(failure)
    (tmp_path / "1.log").write_text("Traceback\nKeyError: 'x'\n")
    assert isinstance(_failure(tmp_path, 1, 1), RuntimeError)
