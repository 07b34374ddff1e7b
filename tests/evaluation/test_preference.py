"""Which held-out pairs are ranked, and by which log-probs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch

from bdpo.artifacts.parquet import write_parquet
from bdpo.evaluation import preference
from bdpo.evaluation.preference import held_out_pairs, ranked_right, score_held_out
from bdpo.layout.rows import Layout
from tests.tiny import tiny_model, tiny_tokenizer


def asked(*contents: str) -> list[dict[str, str]]:
    """The user's turns, and the assistant's between them."""
    return [{"role": role, "content": c} for c, role in zip(contents, ("user", "assistant") * 9, strict=False)]


def held_out(path: Path, rows: Sequence[Mapping[str, Any]], limit: int | None) -> tuple[str, int | None]:
    """Ids of the pairs that are ranked, one letter each, of pairs in this order."""
    write_parquet(pa.Table.from_pylist([dict(row) for row in rows]), path / "pairs.parquet")
    pairs, limited_from = held_out_pairs(path / "pairs.parquet", limit)
    return "".join(pair["pair_id"] for pair in pairs), limited_from


def test_a_limit_spreads_evenly_and_says_what_there_is(tmp_path: Path) -> None:
    splits = ["validation"] * 6 + ["train"] * 3
    rows = [{"pair_id": str(i), "prompt": asked(f"Q{i}"), "split": split} for i, split in enumerate(splits)]
    assert held_out(tmp_path, rows, 3) == ("024", 6)
    assert held_out(tmp_path, rows, 6) == ("012345", None)
    assert held_out(tmp_path, rows, None) == ("012345", None)


@pytest.mark.parametrize("at_a_time", [2, 1024])
def test_a_prompt_is_ranked_once_by_its_first_pair(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_a_time: int
) -> None:
    """Q has the pairs b, c and e, of which e has white space around it; what follows a first turn is another prompt."""
    monkeypatch.setattr(preference, "_READ_ROWS", at_a_time)
    prompts = {"f": ("R",), "c": ("Q",), "b": ("Q",), "d": ("Q", "A", "Q2"), "a": ("Q", "A", "Q3"), "e": (" Q\n",)}
    rows = [{"pair_id": i, "prompt": asked(*turns), "split": "validation"} for i, turns in prompts.items()]
    rows.append({"pair_id": "0", "prompt": asked("Q"), "split": "train"})
    assert held_out(tmp_path, rows, None) == ("abdf", None)
    assert held_out(tmp_path, rows, 2) == ("ad", 4)


def test_every_pair_has_the_log_probs_of_plain_forwards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Five pairs in pieces of two, the last of them alone."""
    monkeypatch.setattr(preference, "_PIECE_PAIRS", 2)
    model, tokenizer = tiny_model(), tiny_tokenizer()
    pairs = [
        {
            "pair_id": f"p{i}",
            "prompt": [{"role": "user", "content": f"Q{i}"}],
            "chosen": "Yes" * i + "!",
            "rejected": "No",
        }
        for i in range(5)
    ]
    done: list[int] = []
    found = score_held_out(
        model, Layout.PLAIN, tokenizer, pairs, tmp_path, max_length=64, max_prompt_length=48, advance=done.append
    )
    assert (list(found), done) == ([f"p{i}" for i in range(5)], [2, 2, 1])
    for pair in pairs:
        head = f"<|im_start|>user\n{pair['prompt'][0]['content']}<|im_end|>\n<|im_start|>assistant\n"  # type: ignore[index]
        start = len(tokenizer(head)["input_ids"])
        for side, logp in zip(("chosen", "rejected"), found[str(pair["pair_id"])], strict=True):
            ids = torch.tensor(tokenizer(f"{head}{pair[side]}<|im_end|>")["input_ids"])
            with torch.no_grad():
                table = model(ids[None]).logits[0, start - 1 : -1].double().log_softmax(-1)
            assert logp == pytest.approx(float(table.gather(1, ids[start:, None]).sum()), abs=1e-3)


def test_equally_likely_responses_are_not_ranked_right() -> None:
    assert [ranked_right(*pair) for pair in ((-1.0, -2.0), (-2.0, -1.0), (-1.0, -1.0))] == [True, False, False]
