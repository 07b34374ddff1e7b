"""Optional packages: what a setting needs, and one sentence where it is missing."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Final

from bdpo.errors import UserError

_DISTRIBUTIONS: Final[Mapping[str, str]] = {
    "bitsandbytes": "bitsandbytes",
    "lm_eval": "lm-eval",
    "mlflow": "mlflow-skinny",
    "peft": "peft",
    "vllm": "vllm",
    "wandb": "wandb",
}
"""Module to what pip installs; mlflow-skinny is the part of MLflow that tracks."""


def require_package(field: str, module: str) -> None:
    """Look for an optional package, importing nothing, for that takes seconds.

    Args:
        field: the setting that asks for it.
        module: as it is imported.

    Raises:
        UserError: it is not installed.
    """
    # None stands for a module that cannot be imported; find_spec fails where one has no spec.
    found = sys.modules[module] if module in sys.modules else find_spec(module)
    if found is None:
        raise _missing(field, module, "is not installed")


@contextmanager
def importing(field: str, module: str) -> Iterator[None]:
    """Around the imports of an optional package: one that fails is told with the setting that asks for it.

    Raises:
        UserError: it is not installed, or not whole.
    """
    require_package(field, module)
    try:
        yield
    except ImportError as error:
        raise _missing(field, module, f"cannot be imported ({error})") from error


def _missing(field: str, module: str, what: str) -> UserError:
    package = _DISTRIBUTIONS[module]
    return UserError(f"{field} needs the package {package}, which {what}: `pip install {package}`, or change it.")
