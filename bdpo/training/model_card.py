"""The model card that goes with a policy."""

from collections.abc import Mapping
from typing import Any

from bdpo import __version__
from bdpo.balance import Forms
from bdpo.config import TrainSettings
from bdpo.config.methods import METHODS, unused
from bdpo.models.source import ModelSource


def model_card(
    settings: TrainSettings,
    forms: Forms,
    source: ModelSource,
    num_pairs: int,
    step: int,
    figures: Mapping[str, Mapping[str, Any]],
) -> str:
    """Markdown with a YAML header: what the model was made from, how, and how well it then did.

    Args:
        settings: of the training.
        forms: balance weight and scaling factor that the method stands for.
        source: the model that it started from.
        num_pairs: pairs in the training split.
        step: after which the weights are those of this model.
        figures: split to its metrics at that step.
    """
    train, validation = figures.get("train", {}), figures.get("validation", {})
    shown = sorted(name for name in train if name.startswith(("loss", "rewards/")))
    table = "\n".join(
        f"| {name} | {_number(train[name])} | {_number(validation.get(f'eval_{name}'))} |" for name in shown
    )
    facts = METHODS[settings.method]
    own = "".join(
        f"| {name.replace('_', ' ')} | {getattr(settings, name)} |\n"
        for name in sorted(facts.hyperparameters - {"balance", "scale"} - unused(settings.method, *forms[:2]).keys())
    )
    trained = "all weights" if settings.lora is None else f"LoRA adapters of rank {settings.lora.rank}, merged"
    if source.quantization is not None:
        trained += f" into the model's {source.quantization} weights, which they were trained on"
    steady = ", normalised to mean 1" if forms.normalise else ""
    seen = min(step * settings.batch_size, num_pairs)
    left = "" if seen == num_pairs else f", the first of {num_pairs} in the order of the seed"
    return f"""---
library_name: transformers
pipeline_tag: text-generation
tags: [preference-optimization, safety, {settings.method}]
---

# {source.name}, aligned with {settings.method}

Trained with bdpo {__version__} on {seen} preference pairs{left}, from `{source.name}`.

| setting | value |
| --- | --- |
| method | {settings.method} ({facts.source}): balance `{forms.balance}`, scale `{forms.scale}`{steady} |
| beta | {settings.beta} |
{own}| trained | {trained} |
| learning rate | {settings.learning_rate}, {settings.schedule}, warm-up {settings.warmup_ratio} |
| epochs, batch size | {settings.epochs}, {settings.batch_size} |
| optimizer steps | {step} |
| seed | {settings.seed} |

| metric at step {step} | train | validation |
| --- | --- | --- |
{table}

The artifact's `manifest.json` names every input, setting and version. The licence is that of the base model.
"""


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
