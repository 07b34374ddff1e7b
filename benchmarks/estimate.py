"""Memory and time of training, from a formula, beside what small models took.

    python -m benchmarks.estimate              the tables of ESTIMATES.md
    python -m benchmarks.estimate --measure    small random models through the engine, beside the formula

Bytes a weight in bfloat16, with W processes (ZeRO, arXiv 1910.02054, section 5; what this engine keeps in float32
added): 2 the model's weights, 2 a pass's gradients, 4 gradient sums, 4 master weights, 8 AdamW's two moments.  The
last two are divided by W from stage 1 on, gradients and their sums from stage 2 on, the weights from stage 3 on.  At
stage 1 a gradient joins its sum as soon as it is there, and none is kept.  At stage 3 DeepSpeed leaves up to
`stage3_max_live_parameters`, a thousand million, together besides.  Several processes also need a bucket of gradients
(`reduce_bucket_size`, five hundred million) and its float32 copy to send.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[1]
MARK = "MEASURED"
"""What a process's line with its result begins with; DeepSpeed prints others."""
LIVE_WEIGHTS = 10**9
BUCKET = 5 * 10**8
WEIGHT, GRADIENT, GRADIENT_SUM, MASTER, MOMENTS = 2, 2, 4, 4, 8
GIB = 2**30


@dataclass(frozen=True)
class Shape:
    """A Llama-like model."""

    name: str
    layers: int
    hidden: int
    intermediate: int
    kv_share: float
    """Key and value heads over query heads."""
    vocabulary: int
    tied: bool = False
    """Whether its output layer is the embeddings."""

    @property
    def weights(self) -> int:
        """Number of weights."""
        attention = int((2 + 2 * self.kv_share) * self.hidden**2)
        norms = (2 * self.layers + 1) * self.hidden
        words = (1 if self.tied else 2) * self.vocabulary * self.hidden
        return self.layers * (attention + 3 * self.hidden * self.intermediate) + words + norms


SHAPES = (
    Shape("1B", 22, 2048, 5632, 1 / 8, 32_000),
    Shape("1.5B", 28, 1536, 8960, 1 / 6, 151_936, tied=True),
    Shape("3B", 36, 2048, 11008, 1 / 8, 151_936, tied=True),
    Shape("7B", 32, 4096, 11008, 1.0, 32_000),
    Shape("70B", 80, 8192, 28672, 1 / 8, 32_000),
)
"""TinyLlama 1.1B, Qwen2.5 1.5B and 3B without their few biases, Llama 2 7B and 70B, by their published configs."""


def state_bytes(weights: int, *, stage: int, world: int) -> float:
    """Most that a process has in bytes, activations apart; stage 0 is run as 1."""
    shared = MASTER + MOMENTS
    own = WEIGHT + GRADIENT_SUM
    if stage >= 2:
        shared += GRADIENT + GRADIENT_SUM
        own -= GRADIENT_SUM
    if stage >= 3:
        shared += WEIGHT
        own -= WEIGHT
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
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    shared = os.environ | {"WORLD_SIZE": str(world), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "PATH": path}
    shared |= {"MALLOC_MMAP_THRESHOLD_": "65536", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "benchmarks.engine_step", *map(str, (layers, hidden, intermediate, stage))]
    processes = [
        subprocess.Popen(
            command,
            cwd=_ROOT,
            env=shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        for rank in range(world)
    ]
    outputs = [process.communicate(timeout=500)[0] for process in processes]
    lines = (line for output in outputs for line in output.splitlines() if line.startswith(MARK))
    found = [json.loads(line.removeprefix(MARK)) for line in lines]
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
