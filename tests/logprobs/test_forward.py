"""The log-prob path against plain one-row forwards of the whole model, family by family."""

from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import PreTrainedModel

from bdpo.layout.rows import Layout, Row, collate, group_rows
from bdpo.logprobs.forward import response_logps, sum_logps
from bdpo.logprobs.proof import choose_layout
from bdpo.logprobs.score import NonFinite, score_rows
from tests.tiny import tiny_model

BRANCHED = ["llama", "qwen2", "qwen3", "mistral", "phi3", "gpt_neox", "gpt2"]
IDS = st.lists(st.integers(0, 258), min_size=1, max_size=12).map(tuple)
ROWS = st.lists(st.tuples(IDS, st.lists(IDS, min_size=1, max_size=3).map(tuple)), min_size=1, max_size=5)


def ids(num: int, seed: int) -> tuple[int, ...]:
    return tuple(torch.randint(259, (num,), generator=torch.Generator().manual_seed(seed)).tolist())


def one_by_one(model: torch.nn.Module, rows: Sequence[Row]) -> Tensor:
    """What the model's own forward says of each response alone, unpadded."""
    parts = []
    for prompt, responses in rows:
        for response in responses:
            with torch.no_grad():
                logits = model(input_ids=torch.tensor([prompt + response])).logits[0].float()
            logps = logits[len(prompt) - 1 : -1].log_softmax(-1)
            parts.append(logps.gather(-1, torch.tensor(response)[:, None])[:, 0])
    return torch.cat(parts)


def in_order(model: PreTrainedModel, rows: Sequence[Row], token_budget: int, layout: Layout) -> list[Tensor]:
    """What `score_rows` gives each response, rows in order, then responses in order."""
    found: dict[int, list[Tensor]] = {}
    for scored in score_rows(model, rows, token_budget=token_budget, layout=layout):
        for index, logps in zip(scored.indices, scored.logps, strict=True):
            found[index] = [torch.from_numpy(part) for part in logps]
    return [part for index in sorted(found) for part in found[index]]


ROWS_OF_ALL_KINDS = [
    Row(ids(30, 0), (ids(20, 1), ids(9, 2))),
    Row(ids(3, 3), (ids(1, 4), ids(40, 5))),
    Row(ids(60, 6), (ids(12, 7),)),
    Row(ids(1, 8), (ids(2, 9), ids(2, 10), ids(33, 11))),
]


@pytest.mark.parametrize("architecture", BRANCHED)
def test_every_family_agrees_with_its_own_forward(architecture: str) -> None:
    model = tiny_model(architecture)
    said: list[str] = []
    assert choose_layout(model, said.append) is Layout.BRANCHED
    assert not said
    expected = one_by_one(model, ROWS_OF_ALL_KINDS)
    for layout in Layout:
        for token_budget in (1, 150, 10_000):
            found = in_order(model, ROWS_OF_ALL_KINDS, token_budget, layout)
            torch.testing.assert_close(torch.cat(found), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("architecture", ["gemma2", "gemma3_text"])
def test_a_sliding_window_gets_plain_rows_and_says_so_once(architecture: str) -> None:
    model = tiny_model(architecture)
    said: list[str] = []
    assert choose_layout(model, said.append) is Layout.PLAIN
    assert len(said) == 1
    assert "window of 16 tokens" in said[0]
    expected = one_by_one(model, ROWS_OF_ALL_KINDS)
    for token_budget in (1, 150, 10_000):
        found = in_order(model, ROWS_OF_ALL_KINDS, token_budget, Layout.PLAIN)
        torch.testing.assert_close(torch.cat(found), expected, atol=1e-5, rtol=0)
    with torch.no_grad():
        branched = response_logps(model, collate(ROWS_OF_ALL_KINDS, Layout.BRANCHED))
    assert (branched - expected).abs().max() > 0.01, "the trial has nothing to find: the window is not at work"


@settings(max_examples=30)
@given(ROWS.map(lambda rows: [Row(prompt, responses) for prompt, responses in rows]), st.integers(1, 200))
def test_the_result_does_not_depend_on_the_batch(rows: list[Row], token_budget: int) -> None:
    model = _LLAMA
    expected = list(torch.split(one_by_one(model, rows), [len(r) for row in rows for r in row.responses]))
    for part, wanted in zip(in_order(model, rows, token_budget, Layout.BRANCHED), expected, strict=True):
        torch.testing.assert_close(part, wanted, atol=1e-5, rtol=0)


_LLAMA = tiny_model("llama")


def test_the_gradient_is_that_of_the_plain_forward() -> None:
    rows = [Row(ids(10, 0), (ids(7, 1), ids(4, 2)))]
    model = tiny_model("llama")
    torch.autograd.backward(response_logps(model, collate(rows, Layout.BRANCHED)).sum())
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    loss = torch.zeros(())
    for response in rows[0].responses:
        logits = model(input_ids=torch.tensor([rows[0].prompt_ids + response])).logits[0, 9:-1]
        loss = loss + logits.log_softmax(-1).gather(-1, torch.tensor(response)[:, None]).sum()
    torch.autograd.backward(loss)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad, atol=1e-4, rtol=1e-4, msg=name)


@given(
    ROWS.map(lambda rows: [Row(p, r) for p, r in rows]), st.integers(1, 60), st.sampled_from(Layout), st.integers(0, 4)
)
def test_groups_hold_each_row_once_and_dropping_the_first_changes_no_other(
    rows: list[Row], token_budget: int, layout: Layout, dropped: int
) -> None:
    groups = group_rows(rows, token_budget, layout)
    assert sorted(i for group in groups for i in group) == list(range(len(rows)))
    gone = {i for group in groups[:dropped] for i in group}
    left = [i for i in range(len(rows)) if i not in gone]
    again = group_rows([rows[i] for i in left], token_budget, layout)
    assert [[left[i] for i in group] for group in again] == groups[dropped:]


def test_a_branched_row_by_hand() -> None:
    """[5 6 | 7 8 | 9]: 8 and 9 are never inputs; 6 predicts 7 and 9, 7 predicts 8."""
    batch = collate([Row((5, 6), ((7, 8), (9, 4, 3)))], Layout.BRANCHED)
    assert batch.input_ids.tolist() == [[5, 6, 7, 9, 4]]
    assert batch.position_ids is not None
    assert batch.position_ids.tolist() == [[0, 1, 2, 2, 3]]
    assert batch.sources.tolist() == [1, 2, 1, 3, 4]
    assert batch.targets.tolist() == [7, 8, 9, 4, 3]
    assert batch.response_lengths == [2, 3]
    assert batch.attention_mask is not None
    assert batch.attention_mask[0, 0].int().tolist() == [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [1, 1, 1, 0, 0],
        [1, 1, 0, 1, 0],  # 9 sees the prompt and itself, not 7
        [1, 1, 0, 1, 1],
    ]


def test_empty_rows_are_refused() -> None:
    for row in (Row((), ((1,),)), Row((1,), ((),)), Row((1,), ())):
        with pytest.raises(ValueError, match="not empty"):
            collate([row], Layout.BRANCHED)


def test_sums_are_those_of_each_response() -> None:
    assert sum_logps(torch.tensor([-1.0, -2.0, -4.0]), [1, 2]).tolist() == [-1.0, -6.0]


def test_what_is_not_finite_names_its_row() -> None:
    model = tiny_model("llama")
    with torch.no_grad():
        model.get_output_embeddings().weight[7] = float("nan")
    with pytest.raises(NonFinite, match="row 0"):
        list(score_rows(model, [Row((1, 2), ((3, 4),))], token_budget=64, layout=Layout.BRANCHED))
