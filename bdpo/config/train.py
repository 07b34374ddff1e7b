"""Section `train`."""

from typing import Literal

from pydantic import Field, field_validator, model_validator

from bdpo.config.methods import METHODS, Balance, Method, Scale, unused
from bdpo.config.section import ConfigPath, Section

TrackerName = Literal["wandb", "mlflow"]
Schedule = Literal["constant", "linear", "cosine"]
ValidationMetric = Literal["eval_loss", "eval_rewards/accuracies", "eval_rewards/margins"]


_CHOSEN_ELSEWHERE = frozenset(
    {"--include", "-i", "--exclude", "-e", "--num_gpus", "--num_accelerators", "--num_nodes", "--hostfile", "-H"}
    | {"--no_ssh", "--node_rank"}
)
"""Arguments of DeepSpeed's launcher that say on which machines and GPUs it starts processes."""


class LoraSettings(Section):
    """Low-rank adapters (arXiv 2106.09685) in place of all weights, through `peft`."""

    rank: int = Field(16, ge=1)
    """Rank of the adapters."""
    alpha: int = Field(32, ge=1)
    """Adapters are scaled by alpha / rank."""
    target_modules: list[str] = Field(default_factory=lambda: ["all-linear"], min_length=1)
    """Names of the layers that get an adapter; `all-linear`, alone: every linear layer but the output.  Of models with
    experts `peft` 0.21 then adapts, in some families (Mixtral, Qwen3-MoE, DeepSeek), attention, router and each expert,
    but no shared expert and no layer without experts; in the others every linear layer and no expert."""

    @field_validator("target_modules")
    @classmethod
    def _all_linear_stands_alone(cls, names: list[str]) -> list[str]:
        if "all-linear" in names and len(names) > 1:
            raise ValueError(f"{names}: `all-linear` stands alone: name each layer, or take the others out")
        return names


class EarlyStoppingSettings(Section):
    """End when the validation split no longer gains; the policy is then that of the best evaluation."""

    metric: ValidationMetric = "eval_loss"
    """What is watched; the loss should fall, the others rise."""
    patience: int = Field(3, ge=1)
    """Evaluations in a row without a new best, after which training ends."""


class TrainSettings(Section):
    """Pairs and scores to an aligned model."""

    method: Method = "bdpo"
    """`dpo`; `dpo_bw`: balance weight alone; `dpo_sf`: scaling factor alone; `bdpo`: both; and the rivals
    `robust`, `ipo`, `hinge`, `simpo`, `cpo`, `safedpo`, `bounded_dpo`."""
    beta: float = Field(default_factory=lambda given: METHODS[given["method"]].beta, gt=0)
    """Scale of the rewards: the pull towards the reference model.  0.1 by default, for `simpo` 2."""
    balance: Balance | None = None
    """Form of the balance weight; the method's own by default."""
    scale: Scale | None = None
    """Form of the scaling factor; the method's own by default."""
    mi_floor: float = Field(0.05, gt=0)
    """Smallest mutual information, in nats a token, that a form divides by: `inverse` and `harmonic` do."""
    tau: float = Field(1.0, gt=0)
    """Temperature of the `softmax` balance weight, in nats a token."""
    label_smoothing: float = Field(0.0, ge=0, lt=0.5)
    """Share of the labels that is taken to be wrong: conservative DPO, or the noise of `robust`, which needs some."""
    gamma: float = Field(0.5, ge=0)
    """`simpo`: target margin of the rewards; by the token it is gamma / beta."""
    nll_weight: float = Field(1.0, ge=0)
    """`cpo`: weight of the chosen response's negative log-prob a token."""
    safety_margin: float = Field(10.0, ge=0)
    """`safedpo`: margin by which a safe response should beat an unsafe one, in units of the reward.  The
    paper's authors published no code; 10 is what a reimplementation of their experiments uses."""
    policy_share: float = Field(0.5, gt=0, le=1)
    """`bounded_dpo`: share of the policy in the mixture that the rejected response is measured with."""
    learning_rate: float = Field(5e-7, gt=0)
    """Peak learning rate of AdamW.  The default is for all weights of 0.5B to 8B; adapters want 5e-6 to 2e-5."""
    epochs: int = Field(1, ge=1)
    """Passes over the training split."""
    max_steps: int | None = Field(None, ge=1)
    """Stop after this many optimizer steps."""
    batch_size: int = Field(16, ge=1)
    """Pairs an optimizer step, over all processes."""
    token_budget: int = Field(2048, ge=1)
    """Most tokens, padding included, in one forward and backward pass."""
    gradient_checkpointing: bool = False
    """Keep one activation a layer and compute the others again in the backward pass: about a third slower,
    with room for a larger token_budget or model."""
    schedule: Schedule = "cosine"
    """Learning rate after the warm-up; `linear` and `cosine` end at 0."""
    warmup_ratio: float = Field(0.1, ge=0, lt=1)
    """Share of the steps in which the learning rate rises from 0."""
    weight_decay: float = Field(0.0, ge=0)
    """AdamW's decay of weight matrices; biases and norms are spared."""
    max_grad_norm: float = Field(1.0, gt=0)
    """Gradients are clipped to this norm; a very large one, such as 1e9, leaves them as they are."""
    seed: int = Field(0, ge=0, lt=2**32)
    """Seed of the data order, of the adapters' start, and of whatever a model's own code draws."""
    deterministic: bool = False
    """Only kernels that give the same bits each time, on a GPU slower ones; an operation that has none stops
    the training.  On a CPU a run gives the same bits without it."""
    lora: LoraSettings | None = None
    """Train adapters instead of all weights; `policy` has them merged, `adapter` holds them alone."""
    eval_every: int = Field(50, ge=1)
    """Steps between evaluations on the validation split; the last step is always evaluated."""
    early_stopping: EarlyStoppingSettings | None = None
    """Stop early; never by default."""
    checkpoint_every: int = Field(50, ge=1)
    """Steps between checkpoints: the most that a killed run repeats."""
    keep_checkpoints: int = Field(1, ge=1)
    """Latest checkpoints kept while training; with early stopping the one with the best evaluation is kept besides."""
    report_to: list[TrackerName] = Field(default_factory=list)
    """Trackers that get the metrics besides, if installed: `wandb` and `mlflow`, each set up by its own
    environment variables.  TensorBoard's files are always written."""
    processes: int = Field(1, ge=1)
    """Processes that the DeepSpeed launcher starts on each machine, one a GPU, of this machine's the first that
    `CUDA_VISIBLE_DEVICES` shows.  A checkpoint belongs to the number of processes that made it: going on with another
    is refused."""
    hostfile: ConfigPath | None = None
    """DeepSpeed hostfile (`name slots=N` a line) of a run on several machines; this machine alone by default.
    All have the same paths to Python, model and artifacts, and this one reaches them by ssh and `pdsh`."""
    launcher_args: list[str] = Field(default_factory=list)
    """More arguments for DeepSpeed's launcher, such as `--master_addr=10.0.0.1` or `--no_ssh_check`; machines and
    processes are chosen by the two fields above."""
    deepspeed: ConfigPath | None = None
    """A DeepSpeed JSON config for ZeRO and offload; batch sizes, optimizer, dtype and clipping come
    from this section.  By default ZeRO stage 0 for one process and 1 for several."""

    @field_validator("report_to", mode="before")
    @classmethod
    def _tensorboard_is_always_there(cls, names: object) -> object:
        if names == "tensorboard" or (isinstance(names, list) and "tensorboard" in names):
            raise ValueError("TensorBoard's files are always written, so it is not named here: remove it")
        return names

    @field_validator("launcher_args")
    @classmethod
    def _places_are_chosen_elsewhere(cls, arguments: list[str]) -> list[str]:
        for argument, after in zip(arguments, [*arguments[1:], ""], strict=True):
            name, joined, value = argument.partition("=")
            if name in _CHOSEN_ELSEWHERE:
                raise ValueError(
                    f"{argument!r}: machines and processes are chosen by `train.hostfile` and `train.processes`, GPUs "
                    "by CUDA_VISIBLE_DEVICES: remove it"
                )
            launcher = value if joined else after
            if name == "--launcher" and launcher.lower() != "pdsh":
                # The others start the worker themselves, without the variables that say which of the processes it is.
                raise ValueError(f"{launcher!r}: of DeepSpeed's launchers a training goes by `pdsh` alone: remove it")
        return arguments

    @model_validator(mode="after")
    def _applicable(self) -> "TrainSettings":
        for name, why in unused(self.method, self.balance, self.scale).items():
            if getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"`{name}` is not used {why}: remove it")
        if self.method == "robust" and self.label_smoothing == 0:
            raise ValueError(
                "with `label_smoothing` 0 the method robust is dpo: say what share of the labels is taken to be wrong, "
                "such as 0.1"
            )
        return self
