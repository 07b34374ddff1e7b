"""The optional packages that settings ask for, looked for before any work and not after hours of it."""

from bdpo.config import Config
from bdpo.fingerprints import Stage
from bdpo.packages import require_package


def require_packages(config: Config, stage: Stage) -> None:
    """Look for what a stage would need.

    Raises:
        UserError: a package is not installed.
    """
    if stage != "ingest" and config.model.quantization is not None:
        require_package("model.quantization", "bitsandbytes")
    if stage == "train" and config.train.lora is not None:
        require_package("train.lora", "peft")
    if stage == "train":
        for name in config.train.report_to:
            require_package("train.report_to", name)
    if stage == "evaluate" and config.evaluate.lm_eval is not None:
        require_package("evaluate.lm_eval", "lm_eval")
    if stage == "evaluate" and config.evaluate.engine == "vllm":
        require_package("evaluate.engine", "vllm")
