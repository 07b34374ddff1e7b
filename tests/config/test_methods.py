"""The registry of methods, and settings that a method does not use."""

from pathlib import Path
from typing import get_args

import pytest
from pydantic import ValidationError

from bdpo.config import Config, TrainSettings
from bdpo.config.methods import METHODS, Loss, Method, methods_with

OWN = sorted(frozenset().union(*(facts.hyperparameters for facts in METHODS.values())))


def ablated(folder: Path, methods: list[str], **train: object) -> Config:
    """A config whose ablation has these methods and nothing of their own."""
    grid = {"methods": {name: {} for name in methods}, "learning_rates": [1e-5], "seeds": [0]}
    sections = {"ingest": {"sources": [{"path": folder}]}, "evaluate": {"benchmarks": [{"path": folder}]}}
    return Config.model_validate({"name": "x", **sections, "train": {"method": "bdpo", **train}, "ablation": grid})


def test_every_method_and_every_loss_is_there() -> None:
    assert tuple(METHODS) == get_args(Method)
    assert {facts.loss for facts in METHODS.values()} == set(get_args(Loss))


def test_only_two_need_no_reference_and_one_needs_labels() -> None:
    assert [name for name, facts in METHODS.items() if not facts.needs_reference] == ["simpo", "cpo"]
    assert [name for name, facts in METHODS.items() if facts.needs_safety_labels] == ["safedpo"]


@pytest.mark.parametrize("name", OWN)
def test_a_hyperparameter_is_a_field_and_is_refused_elsewhere(name: str) -> None:
    values = {"balance": "softmax", "scale": "norm"}
    value = values.get(name, 0.25)
    beside = {"tau": {"balance": "softmax"}, "mi_floor": {"scale": "harmonic"}}.get(name, {})
    for method, facts in METHODS.items():
        given = {"method": method, name: value, **(beside if name in facts.hyperparameters else {})}
        if name in facts.hyperparameters:
            assert getattr(TrainSettings.model_validate(given), name) == value
        else:
            with pytest.raises(ValidationError, match=f"`{name}` is not used by the method {method} .only by "):
                TrainSettings.model_validate(given)


@pytest.mark.parametrize(
    ("given", "is_used"),
    [
        ({"tau": 0.5}, False),
        ({"tau": 0.5, "balance": "softmax"}, True),
        ({"method": "dpo", "mi_floor": 0.2}, False),
        ({"method": "dpo", "mi_floor": 0.2, "balance": "softmax", "scale": "norm"}, False),
        ({"method": "dpo", "mi_floor": 0.2, "scale": "harmonic"}, True),
        ({"method": "dpo_bw", "mi_floor": 0.2}, True),
        ({"mi_floor": 0.05, "tau": 1.0, "balance": "none", "scale": "none"}, True),
    ],
)
def test_what_the_chosen_forms_do_not_use_is_refused(given: dict[str, object], is_used: bool) -> None:
    """It would train anew, and to the same weights."""
    if is_used:
        TrainSettings.model_validate(given)
    else:
        with pytest.raises(ValidationError, match=r"`(tau|mi_floor)` is not used with balance \w+ and scale \w+ .only"):
            TrainSettings.model_validate(given)


@pytest.mark.parametrize("given", [{}, {"label_smoothing": 0}])
def test_robust_wants_to_know_how_many_labels_are_wrong(tmp_path: Path, given: dict[str, object]) -> None:
    """Without noise its loss is DPO's to the bit."""
    with pytest.raises(ValidationError, match=r"`label_smoothing` 0 the method robust is dpo: say .*, such as 0\.1"):
        TrainSettings.model_validate({"method": "robust", **given})
    with pytest.raises(ValidationError, match=r"ablation\.methods\.robust.*the method robust is dpo"):
        ablated(tmp_path, ["dpo", "robust"], **given)
    assert ablated(tmp_path, ["dpo", "robust"], label_smoothing=0.1).trained_by("robust").label_smoothing == 0.1


def test_who_uses_what() -> None:
    assert methods_with("gamma") == ["simpo"]
    assert methods_with("learning_rate") == list(METHODS)


def test_beta_is_the_methods_own_where_nobody_says() -> None:
    """SimPO's rewards are by the token: its gamma of 0.5 at DPO's beta would ask for 5 nats a token."""
    assert [TrainSettings.model_validate({"method": name}).beta for name in ("bdpo", "cpo", "simpo")] == [0.1, 0.1, 2.0]
    assert TrainSettings.model_validate({"method": "simpo", "beta": 0.3}).beta == 0.3
    with pytest.raises(ValidationError, match="Input should be"):
        TrainSettings.model_validate({"method": ["simpo"]})


@pytest.mark.parametrize(
    ("train", "betas"), [({}, [0.1, 2.0]), ({"method": "simpo"}, [0.1, 2.0]), ({"beta": 0.3}, [0.3] * 2)]
)
def test_an_ablation_gives_each_method_its_own_beta_where_nobody_says(
    tmp_path: Path, train: dict[str, object], betas: list[float]
) -> None:
    """Also where `train` names a method: its beta is not the others'."""
    config = ablated(tmp_path, ["bdpo", "simpo"], **train)
    assert [config.trained_by(method).beta for method in ("bdpo", "simpo")] == betas


def test_an_ablation_gives_a_field_of_train_to_the_methods_that_use_it(tmp_path: Path) -> None:
    config = ablated(tmp_path, ["dpo", "bdpo", "simpo"], mi_floor=0.2, label_smoothing=0.1, max_grad_norm=2.0)
    dpo, bdpo, simpo = config.trained_by("dpo"), config.trained_by("bdpo"), config.trained_by("simpo")
    assert (dpo.mi_floor, bdpo.mi_floor) == (0.05, 0.2)
    assert (dpo.label_smoothing, bdpo.label_smoothing, simpo.label_smoothing) == (0.1, 0.1, 0.1)
    assert dpo.max_grad_norm == simpo.max_grad_norm == 2.0


def test_a_quantised_model_asks_for_adapters_and_bfloat16(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("{}\n")
    sections = {"name": "x", "ingest": {"sources": [{"path": rows}]}, "evaluate": {"benchmarks": [{"path": rows}]}}
    whole = sections | {"model": {"quantization": "nf4"}, "train": {"lora": {}}}
    assert Config.model_validate(whole).model.quantization == "nf4"
    with pytest.raises(ValidationError, match="leaves no weights to train: ask for adapters"):
        Config.model_validate(whole | {"train": {}})
    with pytest.raises(ValidationError, match="computes in bfloat16, not in float32"):
        Config.model_validate(whole | {"model": {"quantization": "nf4", "dtype": "float32"}})
    for field, value in (("engine", "vllm"), ("lm_eval", ["arc_easy"])):
        elsewhere = {"evaluate": {"benchmarks": [{"path": rows}], field: value}}
        with pytest.raises(ValidationError, match=rf"evaluate\.{field} would load the base model in 16 bits"):
            Config.model_validate(whole | elsewhere)


@pytest.mark.parametrize("names", ["tensorboard", ["tensorboard"], ["wandb", "tensorboard"]])
def test_tensorboard_is_no_tracker_to_ask_for(names: object) -> None:
    with pytest.raises(ValidationError, match="TensorBoard's files are always written, so it is not named here"):
        TrainSettings.model_validate({"report_to": names})


def test_all_linear_layers_are_named_alone() -> None:
    """Beside another name `peft` would look for a layer called so, find none, and train the other alone."""
    with pytest.raises(ValidationError, match=r"\['all-linear', 'lm_head'\]: `all-linear` stands alone"):
        TrainSettings.model_validate({"lora": {"target_modules": ["all-linear", "lm_head"]}})


@pytest.mark.parametrize("argument", ["--include=localhost:1", "--num_gpus=2", "--hostfile", "-e", "--no_ssh"])
def test_places_are_not_chosen_by_the_launchers_arguments(argument: str) -> None:
    with pytest.raises(ValidationError, match=r"machines and processes are chosen by `train\.hostfile` and"):
        TrainSettings.model_validate({"launcher_args": ["--no_ssh_check", argument]})


@pytest.mark.parametrize(
    "arguments", [["--launcher=openmpi"], ["--no_ssh_check", "--launcher", "slurm"], ["--launcher"]]
)
def test_no_launcher_but_pdsh_is_taken(arguments: list[str]) -> None:
    """The others do not say to a process which one it is."""
    with pytest.raises(ValidationError, match=r"of DeepSpeed's launchers a training goes by `pdsh` alone: remove it"):
        TrainSettings.model_validate({"launcher_args": arguments})
    taken = ["--launcher", "PDSH", "--launcher=pdsh", "--launcher_args=-t 5"]
    assert TrainSettings.model_validate({"launcher_args": taken}).launcher_args == taken
