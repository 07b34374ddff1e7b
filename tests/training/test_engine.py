"""The engine beside the same steps in plain torch: every DeepSpeed config here, both dtypes, one and two processes."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from deepspeed.accelerator import cuda_accelerator
from safetensors.torch import load_file

from bdpo.training.engine import _groups, _leave_nvml_out
from tests.paths import ROOT
from tests.tiny import tiny_model
from tests.training.engine_trial import LEARNING_RATES, MAX_GRAD_NORM, model_in, plain_steps

CONFIGS = ("zero0", "zero1", "zero2", "zero3", "zero2-offload", "zero3-offload")
DTYPES = ("float32", "bfloat16")
VARIANTS = ("tied", "checkpointed", "adapted", "experts")
"""Of the model at ZeRO 3, which gathers each weight where it is used."""
MIXED = ("zero1", "zero3")
"""Which train a model that is partly in float32 beside bfloat16."""


def run_trial(folder: Path, world: int) -> Path:
    """All configs and dtypes in one start of `world` processes."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    settings = [f"{config}:{dtype}" for config in CONFIGS for dtype in DTYPES]
    settings += [f"zero3:float32:{variant}" for variant in VARIANTS]
    settings += [f"{config}:bfloat16:mixed" for config in MIXED]
    command = [sys.executable, "-m", "tests.training.engine_trial", str(folder), *settings]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    shared = os.environ | {"WORLD_SIZE": str(world), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "PATH": path}
    processes = [
        subprocess.Popen(
            command,
            cwd=ROOT,
            env=shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(world)
    ]
    for process in processes:
        output, _ = process.communicate(timeout=300)
        assert process.returncode == 0, output[-3000:]
    assert not list(Path("/dev/shm").glob(f"deepspeed_*_{port}_*")), "DeepSpeed's shared memory outlives the run"  # noqa: S108
    return folder


@pytest.fixture(scope="module")
def one_process(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_trial(tmp_path_factory.mktemp("one"), 1)


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_trial(tmp_path_factory.mktemp("two"), 2)


def check(folder: Path, config: str, dtype: str, variant: str = "") -> None:
    """Norms before clipping within float rounding; weights too, where Adam does not blow rounding up.

    Adam divides a gradient by its own size, so where that size is rounding alone (a few of 31,000 weights
    under ZeRO 3, which multiplies matrices in another memory order; how many depends on the CPU) a step is
    anything up to the rate.
    In bfloat16 not one weight differs: float32 master weights and gradient sums, rounded once.
    """
    expected, norms = plain_steps(dtype, variant)
    assert max(norms) > MAX_GRAD_NORM or variant == "adapted", "nothing was clipped"
    found = load_file(folder / f"{config}-{dtype}{variant}.safetensors")
    # Experts round otherwise at ZeRO 3, whatever the dtypes: DeepSpeed has its own backward pass for some products.
    rounds = variant == "mixed" and config == "zero3"
    found_norms = json.loads((folder / f"{config}-{dtype}{variant}.json").read_text())
    assert found_norms == pytest.approx(norms, rel=2e-3 if rounds else 5e-6)
    tied = {"lm_head.weight"} if variant in ("tied", "mixed") else set()
    frozen = {name: value for name, value in found.items() if name.endswith("e_score_correction_bias")}
    assert found.keys() - tied - frozen.keys() == expected.keys()
    if variant == "mixed":
        start = model_in(dtype, variant).state_dict()
        assert {name for name in start if name.endswith("e_score_correction_bias")} == frozen.keys()
        assert all(value.equal(start[name]) for name, value in frozen.items())
    assert all(found[name].dtype == weights.dtype for name, weights in expected.items())
    difference = torch.cat([(found[name].float() - expected[name].float()).abs().flatten() for name in expected])
    if rounds:
        assert difference.bool().float().mean() < 0.1
        assert difference.max() < 2 * max(LEARNING_RATES)
    elif dtype == "bfloat16":
        assert not difference.any()
    else:
        assert (difference > 1e-6).float().mean() < 0.01
        assert difference.max() < 0.1 * max(LEARNING_RATES)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("config", CONFIGS)
def test_one_process_makes_the_steps_of_plain_torch(one_process: Path, config: str, dtype: str) -> None:
    check(one_process, config, dtype)


@pytest.mark.parametrize("variant", VARIANTS)
def test_one_process_at_zero_3_whatever_the_model(one_process: Path, variant: str) -> None:
    check(one_process, "zero3", "float32", variant)


@pytest.mark.parametrize("config", MIXED)
def test_one_process_whose_model_is_loaded_in_two_dtypes(one_process: Path, config: str) -> None:
    check(one_process, config, "bfloat16", "mixed")


@pytest.mark.slow
@pytest.mark.parametrize("config", MIXED)
def test_two_processes_whose_model_is_loaded_in_two_dtypes(two_processes: Path, config: str) -> None:
    check(two_processes, config, "bfloat16", "mixed")


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS)
def test_two_processes_at_zero_3_whatever_the_model(two_processes: Path, variant: str) -> None:
    check(two_processes, "zero3", "float32", variant)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("config", CONFIGS)
def test_two_processes_make_the_steps_of_one(two_processes: Path, config: str, dtype: str) -> None:
    check(two_processes, config, dtype)


def test_the_trial_would_see_master_weights_missing() -> None:
    """In bfloat16 alone, sums and steps are rounded at once, and many weights end elsewhere."""
    with_masters, _ = plain_steps("bfloat16")
    without, _ = plain_steps("bfloat16", masters_in="bfloat16")
    differ = torch.cat([(with_masters[name] != without[name]).flatten() for name in with_masters])
    assert differ.float().mean() > 0.01


def test_biases_and_norms_do_not_decay_whatever_their_shape() -> None:
    """gpt-oss has the biases of a layer's experts in one matrix, Cohere the norms of its heads."""
    model = tiny_model("gpt_oss", layers=1)
    model.model.layers[0].self_attn.q_norm = torch.nn.Linear(8, 4, bias=False)  # of the shape that Cohere's has
    model.model.layers[0].self_attn.k_proj.weight.requires_grad = False
    names = {id(p): name.removeprefix("model.layers.0.") for name, p in model.named_parameters()}
    found = {group["weight_decay"]: {names[id(p)] for p in group["params"]} for group in _groups(model, 0.1)}
    assert found[0.1] == {
        *("model.embed_tokens.weight", "lm_head.weight", "mlp.router.weight"),
        *("self_attn.q_proj.weight", "self_attn.v_proj.weight", "self_attn.o_proj.weight"),
        *("mlp.experts.gate_up_proj", "mlp.experts.down_proj"),
    }
    assert {"mlp.experts.gate_up_proj_bias", "mlp.experts.down_proj_bias", "self_attn.q_norm.weight"} < found[0.0]
    assert len(found[0.1]) + len(found[0.0]) == len(names) - 1
    assert [group["weight_decay"] for group in _groups(model.lm_head, 0.1)] == [0.1]


def test_gpus_may_be_visible_by_their_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-52a3,MIG-1c")
    nvml = SimpleNamespace(
        nvmlDeviceGetHandleByIndex=lambda index: index, nvmlDeviceGetMemoryInfo=lambda _: SimpleNamespace(free=1)
    )
    monkeypatch.setattr(cuda_accelerator, "pynvml", nvml)
    gpu = object.__new__(cuda_accelerator.CUDA_Accelerator)
    monkeypatch.setattr(gpu, "total_memory", lambda _: 10, raising=False)
    monkeypatch.setattr(gpu, "memory_allocated", lambda _: 3, raising=False)
    with pytest.raises(ValueError, match="GPU-52a3"):  # as DeepSpeed is
        gpu.available_memory(0)
    _leave_nvml_out()
    assert gpu.available_memory(0) == 7
