"""The optional packages that settings ask for, looked for before any work and not after hours of it."""

import sys
from importlib.util import find_spec

from bdpo.config import Config
from bdpo.fingerprints import Stage


def missing_package(config: Config, stage: Stage) -> str | None:
    """What a stage would miss, as a sentence; none that it needs is imported here, for that takes seconds."""
    for field, module, package in _packages(config, stage):
        if not _installed(module):
            return (
                f"{field} needs the package {package}, which is not installed: `pip install {package}`, or change it."
            )
    return None


def _packages(config: Config, stage: Stage) -> list[tuple[str, str, str]]:
    """Field, module and package of each."""
    wanted = []
    if stage != "ingest" and config.model.quantization is not None:
        wanted.append(("model.quantization", "bitsandbytes", "bitsandbytes"))
    if stage == "train" and config.train.lora is not None:
        wanted.append(("train.lora", "peft", "peft"))
    if stage == "train":
        wanted += [("train.report_to", name, name) for name in config.train.report_to]
    if stage == "evaluate" and config.evaluate.lm_eval is not None:
        wanted.append(("evaluate.lm_eval", "lm_eval", "lm-eval"))
    if stage == "evaluate" and config.evaluate.engine == "vllm":
        wanted.append(("evaluate.engine", "vllm", "vllm"))
    return wanted


def _installed(module: str) -> bool:
    if module in sys.modules:
        return sys.modules[module] is not None
    return find_spec(module) is not None
