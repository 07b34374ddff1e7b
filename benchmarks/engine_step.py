"""One process of `benchmarks.estimate --measure`: what a training step of a random model takes of memory.

    python -m benchmarks.engine_step LAYERS HIDDEN INTERMEDIATE STAGE

Started as one of the processes of a training, by the environment variables of `torch.distributed`.
"""

import ctypes
import gc
import json
import sys

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from bdpo.layout.rows import Layout, Row, collate
from bdpo.logprobs.attention import use_packed_attention
from bdpo.training.engine import Engine, barrier, join_processes
from benchmarks.estimate import MARK
from benchmarks.memory import forget_peak, peak_bytes, resident_bytes

_HEAD_SIZE = 64
_BATCH = [Row(tuple(range(5, 15)), ((9, 10, 11), (12, 13)))]


def main() -> None:
    """Print the number of weights, and the peak of a step beyond what any model needs."""
    layers, hidden, intermediate, stage = map(int, sys.argv[1:])
    torch.set_num_threads(1)
    join_processes()
    # A first, tiny model loads all that any model needs, so that the difference is the model's own.
    tiny = LlamaConfig(vocab_size=64, hidden_size=64, intermediate_size=64, num_hidden_layers=1, num_attention_heads=1)
    _, first = _engine(tiny, stage)
    _step(first)
    _release()
    before = resident_bytes()
    config = LlamaConfig(
        vocab_size=32_000,
        hidden_size=hidden,
        intermediate_size=intermediate,
        num_hidden_layers=layers,
        num_attention_heads=hidden // _HEAD_SIZE,
        num_key_value_heads=hidden // _HEAD_SIZE,
    )
    weights, engine = _engine(config, stage)
    _step(engine)
    _release()
    forget_peak()  # that of the loading is another matter
    _step(engine)
    print(MARK, json.dumps([weights, peak_bytes() - before]), flush=True)  # noqa: T201
    barrier()


def _engine(config: LlamaConfig, stage: int) -> tuple[int, Engine]:
    model = LlamaForCausalLM(config).bfloat16().eval()
    use_packed_attention(model)
    zero = {"zero_optimization": {"stage": stage, "stage3_param_persistence_threshold": 0}}
    weights = sum(p.numel() for p in model.parameters())
    return weights, Engine(model, dtype="bfloat16", weight_decay=0.0, max_grad_norm=1.0, deepspeed_config=zero)


def _step(engine: Engine) -> None:
    engine.accumulate(engine.logps(collate(_BATCH, Layout.PACKED)).sum(), last=True)
    engine.step(1e-6)


def _release() -> None:
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)


if __name__ == "__main__":
    main()
