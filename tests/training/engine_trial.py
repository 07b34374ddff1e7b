"""A few steps of `Engine` in each setting asked for, one process of it; what came out goes into a folder.

    python -m tests.training.engine_trial FOLDER CONFIG:DTYPE[:VARIANT]...

CONFIG is a file of `configs/deepspeed`, such as `zero2`; of the VARIANTs see `model_in`.
Started with RANK and WORLD_SIZE in the environment, as the DeepSpeed launcher starts a worker.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

import psutil
import torch
from safetensors.torch import save_file
from transformers import PreTrainedModel

from bdpo.layout.rows import Layout, Row, collate
from bdpo.logprobs import head
from bdpo.logprobs.attention import use_packed_attention
from bdpo.logprobs.forward import response_logps, sum_logps
from bdpo.models.products import prepare_bfloat16_products
from bdpo.training import engine as engine_module
from bdpo.training.deepspeed_config import read_deepspeed_config
from bdpo.training.engine import Engine, barrier, join_processes, rank_and_world
from bdpo.training.policy import add_adapters, checkpoint_activations
from tests.paths import ROOT
from tests.tiny import tiny_model

LEARNING_RATES = (1e-3, 5e-4, 2e-3)
WEIGHT_DECAY = 0.1
MAX_GRAD_NORM = 0.5
ADAPTED = ("adapted", "experts")
"""The variants of which adapters alone are trained."""
ROWS = [Row((5 + i, 6, 7 + i), ((9, 10 + i, 11) * (1 + 4 * (i % 2)), (12 + i, 13))) for i in range(4)]
"""A step's pairs: two passes of two pairs each with one process, one pass of two pairs with two, where one process has
34 response tokens and the other 10."""


def loss_of(logps: torch.Tensor) -> torch.Tensor:
    """Mean DPO-like loss of two pairs, scaled as the mean of four."""
    chosen, rejected = logps.view(-1, 2).unbind(1)
    return -torch.nn.functional.logsigmoid(0.1 * (chosen - rejected)).sum() / len(ROWS)


def model_in(dtype: str, variant: str = "") -> PreTrainedModel:
    """The tiny model, its weights rounded to bfloat16 so that every dtype starts at the same numbers.

    `tied` has one weight for both embeddings, `checkpointed` computes its layers twice, and `adapted` does so too and
    trains adapters alone, as does `experts`, some of whose adapters are on experts; `mixed` has experts, whose routers
    and frozen biases stay in float32 as if it was loaded.
    """
    if variant == "mixed":
        model = tiny_model("ernie4_5_moe").bfloat16().to(getattr(torch, dtype))
        for name, p in model.named_parameters():
            if name.endswith(("gate.weight", "e_score_correction_bias")):
                p.data = p.data.float()
        model.model.layers[1].mlp.gate.moe_statics.e_score_correction_bias.data[:] = 6.9 + 0.001 * torch.arange(4)
    elif variant == "experts":
        model = tiny_model("deepseek_v3").bfloat16().to(getattr(torch, dtype))
    else:
        model = tiny_model(tie_word_embeddings=variant == "tied").bfloat16().to(getattr(torch, dtype))
    if dtype == "bfloat16":
        prepare_bfloat16_products()  # as loading does, and so may have done in the test's own process by now
    use_packed_attention(model)
    if variant in ADAPTED:
        add_adapters(model, rank=4, alpha=8, target_modules=["all-linear"], seed=0)
    if variant in ("checkpointed", *ADAPTED):
        checkpoint_activations(model)
    return model


def halves() -> list[list[Row]]:
    """The step's pairs as two passes."""
    return [ROWS[0::2], ROWS[1::2]]


def plain_steps(
    dtype: str, variant: str = "", *, masters_in: str = "float32"
) -> tuple[dict[str, torch.Tensor], list[float]]:
    """The same steps with torch alone and master weights: trained weights and gradient norms."""
    model = model_in(dtype, variant)
    kept = getattr(torch, masters_in)
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    for p in trained.values():
        p.data = p.data.to(getattr(torch, dtype))
    masters = {name: p.detach().clone().to(kept).requires_grad_() for name, p in trained.items()}
    groups = [
        {"params": [p for p in masters.values() if p.ndim >= 2], "weight_decay": WEIGHT_DECAY},
        {"params": [p for p in masters.values() if p.ndim < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups)
    norms = []
    for rate in LEARNING_RATES:
        for master in masters.values():
            master.grad = torch.zeros_like(master)
        for rows in halves():
            model.zero_grad()
            batch = collate(rows, Layout.PACKED)
            torch.autograd.backward(loss_of(sum_logps(response_logps(model, batch), batch.response_lengths)))
            for name, p in trained.items():
                total, part = masters[name].grad, p.grad
                assert total is not None
                assert part is not None
                total += part
        norms.append(float(torch.nn.utils.clip_grad_norm_(masters.values(), MAX_GRAD_NORM)))
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        with torch.no_grad():
            for name, p in trained.items():
                p.copy_(masters[name])
    return {name: p.detach().clone() for name, p in trained.items()}, norms


def _engine_steps(folder: Path, name: str, dtype: str, variant: str) -> None:
    rank, world = rank_and_world()
    config = read_deepspeed_config(ROOT / "configs" / "deepspeed" / f"{name}.json", world=world)
    if name.startswith("zero3"):
        # DeepSpeed would keep weights as small as these whole everywhere.
        config["zero_optimization"]["stage3_param_persistence_threshold"] = 0
    engine = Engine(
        model_in(dtype, variant),
        dtype=dtype,
        weight_decay=WEIGHT_DECAY,
        max_grad_norm=MAX_GRAD_NORM,
        deepspeed_config=config,
    )
    norms = []
    for rate in LEARNING_RATES:
        passes = halves()[rank::world]
        for number, rows in enumerate(passes):
            loss = loss_of(engine.logps(collate(rows, Layout.PACKED))) * world
            engine.accumulate(loss, last=number == len(passes) - 1)
        norms.append(engine.step(rate))
    state = engine.gather_state(without_frozen=variant in ADAPTED)
    if rank == 0:
        made = f"{name}-{dtype}{variant}"
        # The two names of a tied weight are one tensor, which safetensors does not take.
        save_file({name: value.clone() for name, value in state.items()}, folder / f"{made}.safetensors")
        (folder / f"{made}.json").write_text(json.dumps(norms))
    barrier()


def _refuse(*_: Any, **__: Any) -> None:
    raise AssertionError("ZeRO 3 is for models that fit no device, and the whole of this one went onto it")


def main() -> None:
    """Run the settings that the command line names."""
    torch.set_num_threads(1)
    join_processes()
    listening = [c.laddr.ip for c in psutil.Process().net_connections("inet") if c.status == psutil.CONN_LISTEN]
    assert set(listening) <= {"127.0.0.1", "::1"}, "anybody could join the training"
    assert listening or int(os.environ["RANK"]), "the first process is where the others meet"
    head._CHUNK_LOGITS = (
        4 * 259
    )  # four tokens of the tiny model, so that each process would have its own number of chunks
    whole_move: Any = torch.nn.Module.to
    for setting in sys.argv[2:]:
        name, dtype, variant = (*setting.split(":"), "")[:3]
        setattr(engine_module._Policy, "to", _refuse if name.startswith("zero3") else whole_move)  # noqa: B010
        _engine_steps(Path(sys.argv[1]), name, dtype, variant)


if __name__ == "__main__":
    main()
