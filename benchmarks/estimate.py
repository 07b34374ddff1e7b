"""Memory and time of training, from a formula, beside what small models took.

    python -m benchmarks.estimate              the tables of ESTIMATES.md
    python -m benchmarks.estimate --measure    small random models through the engine, beside the formula

Bytes a weight in bfloat16, with W processes (ZeRO, arXiv 1910.02054, section 5; what this engine keeps in float32
added): 2 the model's weights, 2 a pass's gradients, 4 gradient sums, 4 master weights, 8 AdamW's two moments.  The
last three are divided by W from stage 1 on, a pass's gradients from stage 2 on, the weights from stage 3 on; there
DeepSpeed leaves up to `stage3_max_live_parameters`, a thousand million, together besides.  Several processes also
need a bucket of gradients (`reduce_bucket_size`, five hundred million) and its float32 copy to send.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
from dataclasses import dataclass

LIVE_WEIGHTS = 10**9
BUCKET = 5 * 10**8
WEIGHT, GRADIENT, GRADIENT_SUM, MASTER, MOMENTS = 2, 2, 4, 4, 8
GIB = 2**30


@dataclass(frozen=True)
class Shape:
    """A Llama-like model with an output layer of its own."""

    name: str
    layers: int
    hidden: int
    intermediate: int
    kv_share: float
    """Key and value heads over query heads."""
    vocabulary: int

    @property
    def weights(self) -> int:
        """Number of weights."""
        attention = int((2 + 2 * self.kv_share) * self.hidden**2)
        norms = (2 * self.layers + 1) * self.hidden
        return (
            self.layers * (attention + 3 * self.hidden * self.intermediate) + 2 * self.vocabulary * self.hidden + norms
        )


SHAPES = (
    Shape("1B", 22, 2048, 5632, 1 / 8, 32_000),
    Shape("7B", 32, 4096, 11008, 1.0, 32_000),
    Shape("70B", 80, 8192, 28672, 1 / 8, 32_000),
)
"""TinyLlama 1.1B, Llama 2 7B and 70B, by their published configs."""


def state_bytes(weights: int, *, stage: int, world: int) -> float:
    """Most that a process has in bytes, activations apart; stage 0 is run as 1."""
    shared = GRADIENT_SUM + MASTER + MOMENTS
    shared += GRADIENT if stage >= 2 else 0
    shared += WEIGHT if stage >= 3 else 0
    own = WEIGHT + GRADIENT + GRADIENT_SUM + MASTER + MOMENTS - shared
    live = WEIGHT * min(weights, LIVE_WEIGHTS) if stage >= 3 and world > 1 else 0
    buckets = (GRADIENT + 4) * min(weights, BUCKET) if world > 1 else 0
    return weights * (own + shared / world) + live + buckets


def activation_bytes(shape: Shape, tokens: int) -> float:
    """With `gradient_checkpointing`: a layer's input for each layer, and all of one layer while it is redone."""
    one_layer = 2 * (6 * shape.hidden + 2 * shape.kv_share * shape.hidden + 4 * shape.intermediate)
    return tokens * (2 * shape.hidden * shape.layers + 2 * one_layer)


def train_seconds(shape: Shape, tokens: float, *, world: int, flops: float, utilisation: float = 0.4) -> float:
    """Forward, backward and the forward once more: 8 operations a weight and token (arXiv 2001.08361, 2205.05198)."""
    return 8 * shape.weights * tokens / (world * flops * utilisation)


_WORKER = """
import json, os, sys
import torch
from transformers import LlamaConfig, LlamaForCausalLM
from bdpo.layout.rows import Layout, Row, collate
from bdpo.logprobs.attention import use_packed_attention
from bdpo.training.engine import Engine, barrier
torch.set_num_threads(1)
layers, hidden, intermediate, stage = map(int, sys.argv[1:])
def memory(what):
    lines = open("/proc/self/status").read().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(what))
config = LlamaConfig(vocab_size=32000, hidden_size=hidden, intermediate_size=intermediate, num_hidden_layers=layers,
                     num_attention_heads=hidden // 64, num_key_value_heads=hidden // 64)
def engine_of(config):
    model = LlamaForCausalLM(config).bfloat16().eval()
    use_packed_attention(model)
    zero = {"zero_optimization": {"stage": stage, "stage3_param_persistence_threshold": 0}}
    weights = sum(p.numel() for p in model.parameters())
    return weights, Engine(model, dtype="bfloat16", weight_decay=0.0, max_grad_norm=1.0, deepspeed_config=zero)
def step(engine):
    batch = collate([Row(tuple(range(5, 15)), ((9, 10, 11), (12, 13)))], Layout.PACKED)
    engine.accumulate(engine.logps(batch).sum(), last=True)
    engine.step(1e-6)
# A first, tiny one loads all that any model needs, so that the difference is the model's own.
small = LlamaConfig(vocab_size=64, hidden_size=64, intermediate_size=64, num_hidden_layers=1, num_attention_heads=1)
_, first = engine_of(small); step(first)
import ctypes, gc
gc.collect(); ctypes.CDLL(None).malloc_trim(0); before = memory("VmRSS")
weights, engine = engine_of(config); step(engine)
gc.collect(); ctypes.CDLL(None).malloc_trim(0)
with open("/proc/self/clear_refs", "w") as file:
    file.write("5")  # the peak is measured anew: that of the loading is another matter
step(engine)
print("MEASURED", json.dumps([weights, memory("VmHWM") - before]), flush=True)
barrier()
"""


@dataclass(frozen=True)
class Measured:
    """The peak of a small model's training step in one process, with 15 tokens and so next to no activations."""

    weights: int
    bytes: float
    formula: float
    """The same by `state_bytes`."""

    @property
    def deviation(self) -> float:
        """Measured over the formula, minus 1."""
        return self.bytes / self.formula - 1


def measure(layers: int, hidden: int, intermediate: int, *, stage: int, world: int) -> Measured:
    """Take a step with a random model in real processes of the engine; the largest of them."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    path = os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])  # noqa: PTH120
    shared = os.environ | {"WORLD_SIZE": str(world), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "PATH": path}
    shared |= {"MALLOC_MMAP_THRESHOLD_": "65536", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", _WORKER, *map(str, (layers, hidden, intermediate, stage))]
    processes = [
        subprocess.Popen(
            command,
            env=shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        for rank in range(world)
    ]
    outputs = [process.communicate(timeout=500)[0] for process in processes]
    found = [json.loads(line.split(" ", 1)[1]) for out in outputs for line in out.splitlines() if "MEASURED" in line]
    if len(found) != world:
        raise RuntimeError(f"a process of {world} did not come to its end")
    weights, largest = found[0][0], max(taken for _, taken in found)
    return Measured(weights, largest, state_bytes(weights, stage=stage, world=world))


def _tables() -> None:
    tokens, pass_tokens = 5e6, 8192
    print("| model | GPUs | ZeRO 1 | ZeRO 2 | ZeRO 3 | minutes |\n| --- | --- | --- | --- | --- | --- |")  # noqa: T201
    for shape in SHAPES:
        for world in (1, 4, 8, 16, 32, 64):
            activations = activation_bytes(shape, pass_tokens)
            sizes = [(state_bytes(shape.weights, stage=s, world=world) + activations) / GIB for s in (1, 2, 3)]
            minutes = train_seconds(shape, tokens, world=world, flops=312e12) / 60
            shown = " | ".join(f"{size:,.0f}" for size in sizes)
            print(f"| {shape.name} | {world} | {shown} | {minutes:,.1f} |")  # noqa: T201


def main() -> None:
    """Print the tables, or measure."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--measure", action="store_true")
    if not parser.parse_args().measure:
        _tables()
        return
    print("| weights | processes | ZeRO | measured, MB | formula, MB | deviation |")  # noqa: T201
    print("| --- | --- | --- | --- | --- | --- |")  # noqa: T201
    for layers, hidden, intermediate in ((4, 256, 704), (4, 512, 1408)):
        for stage, world in ((1, 1), (1, 2), (2, 2), (3, 2)):
            m = measure(layers, hidden, intermediate, stage=stage, world=world)
            numbers = f"{m.weights / 1e6:.1f} M | {world} | {stage} | {m.bytes / 1e6:.0f} | {m.formula / 1e6:.0f}"
            print(f"| {numbers} | {m.deviation:+.0%} |", flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
