"""The log-prob path against plain one-row forwards of the whole model, family by family."""

from collections.abc import Sequence
from contextlib import nullcontext, suppress
from math import nan
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from bdpo.errors import UserError
from bdpo.layout.rows import Layout, Row, collate, group_rows
from bdpo.logprobs import attention, proof, tiles
from bdpo.logprobs.attention import has_packed_attention
from bdpo.logprobs.forward import response_logps, sum_logps
from bdpo.logprobs.proof import choose_layout, moved_by, take_layout
from bdpo.logprobs.score import NonFinite, score_rows
from bdpo.logprobs.spans import Spans
from bdpo.models.loading import load_model
from tests.tiny import tiny_model

PACKED = ["llama", "qwen2", "qwen3", "mistral", "gemma3_text", "phi3", "gpt_neox", "gpt2"]
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


@pytest.mark.parametrize("architecture", PACKED)
def test_every_family_agrees_with_its_own_forward(architecture: str) -> None:
    model = tiny_model(architecture)
    said: list[str] = []
    assert choose_layout(model, said.append) is Layout.PACKED
    assert not said
    expected = one_by_one(model, ROWS_OF_ALL_KINDS)
    for layout in Layout:
        for token_budget in (1, 150, 10_000):
            found = in_order(model, ROWS_OF_ALL_KINDS, token_budget, layout)
            torch.testing.assert_close(torch.cat(found), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("architecture", ["llama", "gemma3_text", "gpt2"])
def test_bfloat16_is_within_the_rounding_that_the_trial_allows(architecture: str) -> None:
    """A mean over each response, held against its own row alone."""
    model = tiny_model(architecture).bfloat16()
    assert choose_layout(model, print) is Layout.PACKED
    expected, lengths = one_by_one(model, ROWS_OF_ALL_KINDS), [len(r) for row in ROWS_OF_ALL_KINDS for r in row[1]]
    for layout in Layout:
        for token_budget in (1, 150, 10_000):
            found = torch.cat(in_order(model, ROWS_OF_ALL_KINDS, token_budget, layout))
            assert found.dtype == torch.float32
            difference = proof.largest_difference(found, expected, lengths)
            assert difference < proof.TRIAL_TOLERANCE[torch.bfloat16]


@pytest.mark.parametrize("architecture", PACKED)
def test_a_common_beginning_is_computed_once_and_changes_nothing(architecture: str) -> None:
    model = tiny_model(architecture)
    assert choose_layout(model, print) is Layout.PACKED
    rows = [Row(ids(21, 99) + row.prompt_ids, row.responses) for row in ROWS_OF_ALL_KINDS]
    batch = collate(rows, Layout.PACKED)
    assert batch.packing is not None
    assert batch.packing.beginning == 21
    assert batch.input_ids.shape[1] == collate(ROWS_OF_ALL_KINDS, Layout.PACKED).input_ids.shape[1] + 21
    expected = one_by_one(model, rows)
    with torch.no_grad():
        torch.testing.assert_close(response_logps(model, batch), expected, atol=1e-5, rtol=0)


@pytest.fixture
def whole_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a CPU with AMX in bfloat16; here in float32, which is compared more exactly."""
    monkeypatch.setattr(tiles, "tile_padding", lambda length, like: -length % 32)


@pytest.mark.usefixtures("whole_tiles")
@pytest.mark.parametrize("architecture", PACKED)
def test_what_is_added_up_to_whole_tiles_changes_nothing(architecture: str) -> None:
    model = tiny_model(architecture)
    assert choose_layout(model, print) is Layout.PACKED
    seen: list[int] = []

    def note(_module: torch.nn.Module, _args: object, given: dict[str, Any]) -> None:
        if "packed" in given:
            seen.append(given["input_ids"].shape[1])

    model.get_decoder().register_forward_pre_hook(note, with_kwargs=True)
    for beginning in (0, 21):
        rows = [Row(ids(beginning, 99) + row.prompt_ids, row.responses) for row in ROWS_OF_ALL_KINDS]
        expected = one_by_one(model, rows)
        seen.clear()
        found = in_order(model, rows, 150, Layout.PACKED)
        torch.testing.assert_close(torch.cat(found), expected, atol=1e-5, rtol=0)
        assert seen
        assert all(length % 32 == 0 for length in seen)


def test_a_family_without_sdpa_gets_plain_rows_and_says_so_once() -> None:
    model = tiny_model("gemma2")
    said: list[str] = []
    assert choose_layout(model, said.append) is Layout.PLAIN
    assert len(said) == 1
    assert "its attention is eager, not sdpa" in said[0]
    expected = one_by_one(model, ROWS_OF_ALL_KINDS)
    for token_budget in (1, 150, 10_000):
        found = in_order(model, ROWS_OF_ALL_KINDS, token_budget, Layout.PLAIN)
        torch.testing.assert_close(torch.cat(found), expected, atol=1e-5, rtol=0)


_STATEFUL: dict[str, dict[str, Any]] = {
    "lfm2": {"layer_types": ["conv", "conv", "full_attention", "conv"], "block_auto_adjust_ff_dim": False},
    "zaya": {"moe_intermediate_size": 32, "num_experts": 4, "head_dim": 16, "router_hidden_size": 16},
}


@pytest.mark.parametrize("initializer_range", [0.02, 0.2])
@pytest.mark.parametrize("architecture", ["lfm2", "zaya"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_model_whose_layers_carry_a_state_gets_plain_rows(
    dtype: torch.dtype, architecture: str, initializer_range: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A convolution over the row: what a response before it leaves behind spoils the next one, never the first.

    With flat logits no more than rounding may, so that a trial would not find it.
    """
    # No rounding allows so much, so that of no model is it measured, in passes of eight rows.
    monkeypatch.setattr(proof, "_noise", lambda *_: pytest.fail("it decides nothing"))
    torch.manual_seed(0)
    settings = _SMALL | {"initializer_range": initializer_range} | _STATEFUL[architecture]
    config = AutoConfig.for_model(architecture, **settings)
    model = AutoModelForCausalLM.from_config(config, dtype=dtype).eval()
    said: list[str] = []
    assert choose_layout(model, said.append) is Layout.PLAIN
    assert "may carry a state" in said[0]


@pytest.mark.parametrize("architecture", ["falcon", "llama4_text", "hyperclovax", "falcon_h1"])
def test_a_family_of_another_make_is_scored_all_the_same(architecture: str) -> None:
    """Falcon's attention cannot be replaced; Llama 4 calls itself its own decoder."""
    torch.manual_seed(0)
    config = AutoConfig.for_model(architecture, **_SMALL | _OTHER_MAKE.get(architecture, {}))
    model = AutoModelForCausalLM.from_config(config).eval()
    layout = choose_layout(model, print)
    found = in_order(model, ROWS_OF_ALL_KINDS, 150, layout)
    torch.testing.assert_close(torch.cat(found), one_by_one(model, ROWS_OF_ALL_KINDS), atol=1e-5, rtol=0)


_SMALL = {
    "vocab_size": 259,
    "hidden_size": 64,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 128,
    "initializer_range": 0.2,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 2,
}
_OTHER_MAKE: dict[str, dict[str, Any]] = {
    "hyperclovax": {"logits_scaling": 0.125},
    "falcon_h1": {"lm_head_multiplier": 0.125, "mamba_d_ssm": 64, "mamba_n_heads": 4, "mamba_d_head": 16},
    "llama4_text": {"attention_chunk_size": 64, "head_dim": 16, "num_local_experts": 2, "intermediate_size_mlp": 128},
}


def test_the_trial_finds_an_attention_that_overlooks_a_window(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its window of 16 tokens the model's log-probs move, and plain rows are taken."""
    mask = Spans.mask
    monkeypatch.setattr(Spans, "mask", lambda self, number, window, like: mask(self, number, None, like))
    model = tiny_model("gemma3_text")
    said: list[str] = []
    assert choose_layout(model, said.append) is Layout.PLAIN
    assert "nats a token in the trial" in said[0]
    expected = one_by_one(model, ROWS_OF_ALL_KINDS)
    found = in_order(model, ROWS_OF_ALL_KINDS, 150, Layout.PLAIN)
    torch.testing.assert_close(torch.cat(found), expected, atol=1e-5, rtol=0)


def test_a_model_that_chooses_what_to_attend_to_in_long_rows_alone_gets_no_packed_rows() -> None:
    """DeepSeek-V3.2: beyond 320 tokens, 2048 in real ones, a token attends to the 320 that an index finds best.

    Packed, log-probs were off by 3 nats a token.  Where two are as good as each other padding may decide, so that this
    random model may be refused.
    """
    torch.manual_seed(0)
    sizes = {"q_lora_rank": 16, "kv_lora_rank": 16, "qk_nope_head_dim": 16, "qk_rope_head_dim": 16, "v_head_dim": 16}
    experts = {"n_routed_experts": 2, "num_experts_per_tok": 1, "n_group": 1, "topk_group": 1, "num_key_value_heads": 4}
    index = {"index_topk": 320, "index_n_heads": 64, "index_head_dim": 32}
    config = AutoConfig.for_model("deepseek_v32", **_SMALL | sizes | experts | index | {"num_hidden_layers": 2})
    model = AutoModelForCausalLM.from_config(config).eval()
    with suppress(UserError):
        assert choose_layout(model, print, max_length=480) is Layout.PLAIN
    assert not has_packed_attention(model)


def test_a_model_that_counts_tokens_from_the_start_of_a_pass_gets_no_packed_rows() -> None:
    """Llama 4's layers without positions, from `floor_scale` on: packed, a row far from the start was off by 0.1."""
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        "llama4_text", **_SMALL | _OTHER_MAKE["llama4_text"] | {"attention_chunk_size": 512, "floor_scale": 200}
    )
    model = AutoModelForCausalLM.from_config(config).eval()
    rows = [Row(ids(60, 2 * i), (ids(20, 2 * i + 1),)) for i in range(6)]
    layout = choose_layout(model, print, max_length=90)
    found = in_order(model, rows, 1000, layout)
    torch.testing.assert_close(torch.cat(found), one_by_one(model, rows), atol=1e-5, rtol=0)


def test_a_model_larger_than_its_device_is_scored_where_its_parts_are(tmp_path: Path) -> None:
    """A layer that stays on disk until its turn: what `device_map="auto"` does where memory ends."""
    whole = tiny_model("llama")
    whole.save_pretrained(tmp_path)
    parts = {"model.embed_tokens", "model.layers.0", "model.norm", "model.rotary_emb", "lm_head"}
    device_map = dict.fromkeys(parts, "cpu") | {"model.layers.1": "disk"}
    model = load_model(tmp_path, dtype="float32", device_map=device_map)
    assert next(model.model.layers[1].parameters()).device.type == "meta"
    assert choose_layout(model, print) is Layout.PACKED
    found = in_order(model, ROWS_OF_ALL_KINDS, 150, Layout.PACKED)
    torch.testing.assert_close(torch.cat(found), one_by_one(whole, ROWS_OF_ALL_KINDS), atol=1e-5, rtol=0)


def test_what_is_not_packed_goes_on_as_before(tmp_path: Path) -> None:
    """Padded on the left, as generation does; and the name of the attention is in no saved config."""
    model = tiny_model("llama")
    tokens = torch.tensor([[0, 0, *ids(5, 0)], [*ids(7, 1)]])
    mask = torch.tensor([[0, 0, 1, 1, 1, 1, 1], [1] * 7])
    with torch.no_grad():
        before = model(input_ids=tokens, attention_mask=mask).logits
        assert choose_layout(model, print) is Layout.PACKED
        after = model(input_ids=tokens, attention_mask=mask).logits
    assert torch.equal(before, after)
    model.save_pretrained(tmp_path)
    assert "bdpo" not in (tmp_path / "config.json").read_text()


@settings(max_examples=30)
@given(ROWS.map(lambda rows: [Row(prompt, responses) for prompt, responses in rows]), st.integers(1, 200))
def test_the_result_does_not_depend_on_the_batch(rows: list[Row], token_budget: int) -> None:
    model = _LLAMA
    expected = list(torch.split(one_by_one(model, rows), [len(r) for row in rows for r in row.responses]))
    for part, wanted in zip(in_order(model, rows, token_budget, Layout.PACKED), expected, strict=True):
        torch.testing.assert_close(part, wanted, atol=1e-5, rtol=0)


_LLAMA = tiny_model("llama")
choose_layout(_LLAMA, print)


@pytest.mark.parametrize("in_tiles", [False, True])
@pytest.mark.parametrize("architecture", ["llama", "gemma3_text", "gpt2"])
def test_the_gradient_is_that_of_the_plain_forward(
    architecture: str, in_tiles: bool, request: pytest.FixtureRequest
) -> None:
    if in_tiles:
        request.getfixturevalue("whole_tiles")
    rows = [Row((*ids(9, 0), 7), (ids(7, 1), ids(4, 2))), Row((*ids(9, 0), 8), (ids(3, 3),))]
    model = tiny_model(architecture)
    assert choose_layout(model, print) is Layout.PACKED
    torch.autograd.backward(response_logps(model, collate(rows, Layout.PACKED)).sum())
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    loss = torch.zeros(())
    for prompt, responses in rows:
        for response in responses:
            logits = model(input_ids=torch.tensor([prompt + response])).logits[0, 9:-1]
            loss = loss + logits.log_softmax(-1).gather(-1, torch.tensor(response)[:, None]).sum()
    torch.autograd.backward(loss)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad, atol=1e-4, rtol=1e-4, msg=name)


def test_the_gradient_of_bfloat16_attention_is_that_of_float32_within_its_rounding() -> None:
    """As near as the gradient of bfloat16's own kernel is, with heads that share keys, and with a mask."""
    generator = torch.Generator().manual_seed(0)
    shapes = ((1, 4, 7, 8), (1, 2, 12, 8), (1, 2, 12, 8))
    exact = [torch.randn(shape, generator=generator).bfloat16().float().requires_grad_() for shape in shapes]
    weight = torch.randn(1, 4, 7, 8, generator=generator)

    def gradients(inputs: list[Tensor], addend: Tensor | None) -> tuple[Tensor, ...]:
        output = attention._sdpa(*inputs, addend, 0.3)  # type: ignore[arg-type, call-arg]
        return torch.autograd.grad((output.float() * weight[:, :, : output.shape[2]]).sum(), inputs)

    after_five = torch.full((1, 1, 7, 12), -torch.inf).triu(6)
    for keys, mask in ((12, after_five), (7, None)):
        inputs = [x[:, :, :keys].detach().requires_grad_() for x in exact]
        rounded = [x.detach().bfloat16().requires_grad_() for x in inputs]
        expected = gradients(inputs, mask)
        found = gradients(rounded, None if mask is None else mask.bfloat16())
        for mine, wanted in zip(found, expected, strict=True):
            assert mine.dtype == torch.bfloat16
            torch.testing.assert_close(mine.float(), wanted, atol=0.02, rtol=0.02)


def test_bfloat16_attention_has_a_gradient_where_values_are_narrower_than_keys() -> None:
    """As DeepSeek's multi-head latent attention has them."""
    generator = torch.Generator().manual_seed(0)
    exact = [torch.randn(1, 4, 7, width, generator=generator).requires_grad_() for width in (12, 12, 8)]
    rounded = [x.detach().bfloat16().requires_grad_() for x in exact]
    found, expected = (
        torch.autograd.grad(attention._sdpa(*x, None, 0.3).float().sum(), x)  # type: ignore[arg-type, call-arg]
        for x in (rounded, exact)
    )
    for mine, wanted in zip(found, expected, strict=True):
        torch.testing.assert_close(mine.float(), wanted, atol=0.05, rtol=0.05)


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


def test_a_row_that_is_longer_than_an_mpt_takes_is_refused() -> None:
    """Its config calls the limit `max_seq_len`; the trial went beyond it, which was a traceback, as a long row was."""
    torch.manual_seed(0)
    config = AutoConfig.for_model("mpt", vocab_size=259, d_model=32, n_layers=1, n_heads=2, max_seq_len=64)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    assert choose_layout(model, print, max_length=256) is Layout.PLAIN
    with pytest.raises(UserError, match=r"A row has 71 tokens, and the model \(mpt\) takes 64 \(max_seq_len\): lower"):
        list(score_rows(model, [Row(ids(60, 0), (ids(11, 1),))], token_budget=99, layout=Layout.PLAIN))


def test_want_of_memory_in_the_trial_says_nothing_of_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")

    monkeypatch.setattr(proof, "response_logps", full)
    with pytest.raises(torch.OutOfMemoryError):
        choose_layout(tiny_model(), print)


def test_a_model_that_cannot_be_in_bfloat16_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pythia-160m's own log-probs move by more than a nat a token there with the rows of a pass."""
    monkeypatch.setattr(proof, "_difference", lambda *_: 0.9)
    rows = [Row(ids(20, 0), (ids(5, 1), ids(4, 2))), Row(ids(9, 3), (ids(3, 4),))]
    assert proof._noise(tiny_model(), rows, list(torch.split(one_by_one(tiny_model(), rows), [5, 4, 3]))) < 1e-5
    monkeypatch.setattr(proof, "_noise", lambda *_: 0.8)
    with pytest.raises(UserError, match=r"move by 0\.8 nats a token with .*; set model\.dtype=float32\.$"):
        choose_layout(tiny_model().bfloat16(), print)
    with pytest.raises(UserError, match="use a model of another family"):
        choose_layout(tiny_model(), print)


@pytest.mark.parametrize(
    ("difference", "noise", "layout"),
    [(0.2, 0.07, Layout.PACKED), (0.2, 0.06, None), (0.29, 9.0, Layout.PACKED), (0.31, 9.0, None), (0.2, nan, None)],
)
def test_a_model_that_rounding_moves_may_move_by_as_much(
    monkeypatch: pytest.MonkeyPatch, difference: float, noise: float, layout: Layout | None
) -> None:
    """Up to three times its own noise and 0.3 nats, where a state that leaks is 0.4 and more."""
    monkeypatch.setattr(proof, "_difference", lambda *_: difference)
    monkeypatch.setattr(proof, "_noise", lambda *_: noise)
    refused = pytest.raises(UserError) if layout is None else nullcontext()
    with refused:
        assert choose_layout(tiny_model().bfloat16(), print) is layout
    with pytest.raises(UserError, match="use a model of another family"):  # float32 has no such noise
        choose_layout(tiny_model(), print)


def test_what_a_model_over_two_gpus_gives_is_compared() -> None:
    """Its own forward gives logits on the first, bdpo's log-probs are where the output layer is."""
    with FakeTensorMode():
        found, expected = torch.ones(3, device="cuda:1"), torch.ones(3, device="cuda:0")
        with pytest.raises(RuntimeError, match="same device"):
            found - expected
        with pytest.raises(DataDependentOutputException):  # as far as tensors without numbers go
            proof.largest_difference(found, expected, [2, 1])


def test_tokens_that_stand_for_pictures_are_not_drawn() -> None:
    """Gemma 3n's own forward embeds them otherwise than its decoder, and the trial would take that for a mistake."""
    model = tiny_model()
    model.config.vocab_size_per_layer_input = 20
    for row in proof.trial_rows(model, None):
        assert max(*row.prompt_ids, *(token for response in row.responses for token in response)) < 20


def test_short_responses_may_move_as_much_as_rounding_moves_one_token() -> None:
    difference, lengths = torch.tensor([-0.7, 0.7, 8.0]), torch.tensor([1, 8, 40])
    assert moved_by(difference, lengths).tolist() == pytest.approx([0.0875, 0.0875, 0.2])


@pytest.mark.parametrize("layout", list(Layout))
def test_what_another_process_found_is_taken_without_a_pass(layout: Layout) -> None:
    """Layers with kernels for a GPU alone raise on what is in main memory."""
    model = tiny_model()

    def refuse(*_: object) -> None:
        raise RuntimeError("Expected all tensors to be on cuda")

    hook = model.model.layers[0].register_forward_pre_hook(refuse)
    take_layout(model, layout)
    assert has_packed_attention(model) is (layout is Layout.PACKED)
    hook.remove()
    assert response_logps(model, collate([Row((5, 6), ((7, 8),))], layout)).isfinite().all()


def test_empty_rows_are_refused() -> None:
    for row in (Row((), ((1,),)), Row((1,), ((),)), Row((1,), ())):
        with pytest.raises(ValueError, match="not empty"):
            collate([row], Layout.PACKED)


def test_sums_are_those_of_each_response() -> None:
    assert sum_logps(torch.tensor([-1.0, -2.0, -4.0]), [1, 2]).tolist() == [-1.0, -6.0]


def test_what_is_not_finite_names_its_row() -> None:
    model = tiny_model("llama")
    choose_layout(model, print)
    with torch.no_grad():
        model.get_output_embeddings().weight[7] = float("nan")
    with pytest.raises(NonFinite, match="response 0 of row 0 has a token log-prob of nan"):
        list(score_rows(model, [Row((1, 2), ((3, 4),))], token_budget=64, layout=Layout.PACKED))


def test_what_is_not_finite_names_its_response() -> None:
    """A token that is no number as an input spoils what follows it, and no other response of its row."""
    model = tiny_model("llama")
    choose_layout(model, print)
    with torch.no_grad():
        model.get_input_embeddings().weight[200] = float("nan")
    rows = [Row((1, 2), ((3, 4),)), Row((5, 6), ((7, 8), (9, 200, 10)))]
    with pytest.raises(NonFinite) as raised:
        list(score_rows(model, rows, token_budget=64, layout=Layout.PACKED))
    assert (raised.value.index, raised.value.response) == (1, 1)


@pytest.mark.parametrize("layout", Layout)
def test_a_token_that_the_model_does_not_have_is_named(layout: Layout) -> None:
    model = tiny_model("llama")
    choose_layout(model, print)
    for row in (Row((1, 259), ((3, 4),)), Row((1, 2), ((3, 259),))):
        with pytest.raises(UserError, match=r"the token 259, and the model \(llama\) has 259 tokens: its tokenizer"):
            list(score_rows(model, [row], token_budget=64, layout=layout))


@pytest.mark.parametrize("layout", Layout)
def test_a_row_that_is_longer_than_the_model_takes_says_what_to_lower(layout: Layout) -> None:
    """Learned positions, as GPT-2 has them, end; a row's last token is predicted and needs none."""
    model = tiny_model("gpt2")
    choose_layout(model, print)
    list(score_rows(model, [Row(ids(2000, 0), (ids(49, 1),))], token_budget=64, layout=layout))
    with pytest.raises(UserError, match=r"has 2050 tokens, and the model \(gpt2\) takes 2048 .*max_length to 2048\."):
        list(score_rows(model, [Row(ids(2000, 0), (ids(3, 1), ids(50, 1)))], token_budget=64, layout=layout))


def test_a_model_that_gives_no_numbers_is_not_taken_for_an_unknown_one() -> None:
    model = tiny_model("llama")
    with torch.no_grad():
        model.model.norm.weight[0] = float("nan")
    with pytest.raises(UserError, match=r"\(llama\) gives log-probs that are not finite, for random tokens"):
        choose_layout(model, print)


def test_a_model_that_does_more_than_its_output_layer_is_refused_in_a_sentence() -> None:
    """ModernBERT's decoder has layers between its hidden states and its output layer, which it calls its decoder."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model("modernbert-decoder", **_SMALL)).eval()
    with pytest.raises(
        UserError, match=r"\(modernbert-decoder\) turns hidden states into logits in a way that bdpo does"
    ):
        choose_layout(model, print, max_length=64)


@pytest.mark.parametrize(
    ("architecture", "rope", "limits"),
    [
        (
            "phi3",
            {"rope_type": "longrope", "short_factor": [1.0] * 4, "long_factor": [4.0] * 4},
            {"original_max_position_embeddings": 64},
        ),
        ("llama", {"rope_type": "dynamic", "factor": 4.0}, {"max_position_embeddings": 64}),
    ],
)
def test_positions_that_follow_the_longest_row_are_refused_beyond_their_limit(
    architecture: str, rope: dict[str, Any], limits: dict[str, int]
) -> None:
    """A short row would have other scores beside a long one."""
    model = tiny_model(architecture, rope_parameters=rope | {"rope_theta": 10000.0}, **limits)
    assert choose_layout(model, print, max_length=64) is Layout.PACKED
    rows = [Row(ids(30, 0), (ids(20, 1), ids(9, 2))), Row(ids(3, 3), (ids(1, 4), ids(40, 5)))]
    found = torch.cat(in_order(model, rows, 200, Layout.PACKED))
    assert torch.allclose(found, one_by_one(model, rows), atol=1e-5)
    with pytest.raises(UserError, match=r"max_length 65: beyond 64 tokens .*; set model.max_length to 64 or less"):
        choose_layout(model, print, max_length=65)
