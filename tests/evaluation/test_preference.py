"""Which held-out pairs are ranked, and by which log-probs."""

from pathlib import Path

import pyarrow as pa
import pytest
import torch

from bdpo.artifacts.parquet import write_parquet
from bdpo.evaluation import preference
from bdpo.evaluation.preference import held_out_pairs, ranked_right, score_held_out
from bdpo.layout.rows import Layout
from tests.tiny import tiny_model, tiny_tokenizer


def test_a_limit_spreads_evenly_and_says_what_there_is(tmp_path: Path) -> None:
    path = tmp_path / "pairs.parquet"
    splits = ["validation"] * 6 + ["train"] * 3
    write_parquet(pa.Table.from_pylist([{"pair_id": str(i), "split": s} for i, s in enumerate(splits)]), path)

    def found(limit: int | None) -> tuple[list[str], int | None]:
        pairs, limited_from = held_out_pairs(path, limit)
        return [pair["pair_id"] for pair in pairs], limited_from

    assert found(3) == (["0", "2", "4"], 6)
    assert found(6) == (list("012345"), None)
    assert found(None) == (list("012345"), None)


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
