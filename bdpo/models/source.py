"""Which files a model name stands for, and the digest of their content."""

import json
import os
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from bdpo.artifacts.digest import digest_files, digest_value
from bdpo.errors import UserError, first_line
from bdpo.models.embedded import embedded_model

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
)

_READ_ALONE = ("model.safetensors", "model.safetensors.index.json")
"""Of these files `from_pretrained` reads the first that is there, and of other weights those that the second names."""
_OWN_FORMAT = "consolidated*"
"""The same weights as Mistral publishes them for its own programs, beside some of its models."""


@dataclass(frozen=True)
class ModelSource:
    """A model's own folder and what its files contain."""

    name: str
    """What the config calls it."""
    folder: Path
    """Where its files lie."""
    weights_digest: str
    """Digest of the weights, `config.json` and Python code, and of how they are quantised."""
    tokenizer_digest: str
    """Digest of the tokenizer and chat template, and of Python code that lies beside them."""
    quantization: str | None = None
    """How its weights are held in memory."""


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a model folder, without a second copy that `from_pretrained` does not read."""
    files = sorted(folder.glob("*.safetensors"))
    if any((folder / name).is_file() for name in _READ_ALONE):
        return [file for file in files if not file.match(_OWN_FORMAT)]
    return files


def resolve_model(
    path: str, revision: str | None = None, quantization: str | None = None, *, field: str = "model.path"
) -> ModelSource:
    """Find a model's files and digest them.

    Args:
        path: `embedded`, a folder, or a hub name.
        revision: branch, tag or commit of a hub name.
        quantization: how its weights are to be held in memory.
        field: the setting that holds the path, for messages.

    Raises:
        UserError: there is no such model, the hub did not give all of it, or its folder lacks weights, a config or a
            tokenizer.
    """
    folder = _folder(path, revision, field)
    weights = weight_files(folder)
    if not weights:
        pickles = sorted(p.name for p in (*folder.glob("*.bin"), *folder.glob("*.pt"), *folder.glob("*.pth")))
        found = f" (found {', '.join(pickles)}: pickled weights are never loaded)" if pickles else ""
        raise UserError(
            f"{field} {path!r}: the folder {folder} holds no *.safetensors weights{found}; "
            "save the model with `save_pretrained`."
        )
    config = folder / "config.json"
    if (folder / "adapter_config.json").is_file():
        # Beside a whole model `transformers` would add it to the weights without a word.
        raise UserError(
            f"{field} {path!r}: the folder {folder} holds an adapter, which is no model of its own; "
            "merge the two with peft (`merge_and_unload`), save the result, and name its folder."
        )
    if not config.is_file():
        raise UserError(f"{field} {path!r}: the folder {folder} holds no config.json.")
    tokenizer = [folder / name for name in TOKENIZER_FILES if (folder / name).is_file()]
    if not any(p.name in ("tokenizer.json", "tokenizer.model", "vocab.json") for p in tokenizer):
        raise UserError(f"{field} {path!r}: the folder {folder} holds no tokenizer (tokenizer.json).")
    code = sorted(folder.glob("*.py"))
    try:
        on_disk = digest_files([config, *weights, *code])
        tokenizer_digest = digest_files([*tokenizer, *code])
    except PermissionError as error:
        # safetensors writes files that their owner alone may read, and in a container that is another user.
        raise UserError(
            f"{field} {path!r}: {error.filename} cannot be read: permission is denied to this user (number "
            f"{os.getuid()}); give it, as by `chmod a+r`."
        ) from error
    return ModelSource(
        name=path,
        folder=folder,
        weights_digest=on_disk if quantization is None else digest_value([on_disk, quantization]),
        tokenizer_digest=tokenizer_digest,
        quantization=quantization,
    )


def look_again(source: ModelSource) -> ModelSource:
    """What a model's folder holds now.

    By its folder, for a branch of the hub may have moved on, and the folder is what is loaded.

    Raises:
        UserError: as for `resolve_model`.
    """
    return resolve_model(str(source.folder), quantization=source.quantization)


def stored_quantization(folder: Path) -> str | None:
    """How the weights in a model folder's files are quantised, as its `config.json` calls it; None where they are not.

    NVIDIA's ModelOpt says it in a file of its own.  A model whose config is not JSON is refused where it is loaded.
    """
    if (folder / "hf_quant_config.json").is_file():
        return "modelopt"
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except ValueError:
        return None
    for part in (config, config.get("text_config")) if isinstance(config, dict) else ():
        found = part.get("quantization_config") if isinstance(part, dict) else None
        if isinstance(found, dict):
            return f"{found.get('quant_method', 'bitsandbytes')}{'-4bit' if found.get('load_in_4bit') else ''}"
    return None


def require_trainable(source: ModelSource) -> None:
    """Refuse a model in whose files are quantised weights: nothing trains them, and embeddings alone would be.

    mxfp4 is loaded dequantised, for models such as gpt-oss are published in no other form, and 4-bit weights of
    bitsandbytes are what `model.quantization` makes itself.

    Raises:
        UserError: the weights are quantised otherwise.
    """
    stored = stored_quantization(source.folder)
    if stored is not None and (stored, source.quantization) not in (("mxfp4", None), ("bitsandbytes-4bit", "nf4")):
        raise UserError(
            f"model.path {source.name!r}: its weights are quantised ({stored}), and a policy is trained from those "
            "that they were made from; name that model, or save this one dequantised."
        )


def require_own_code(source: ModelSource) -> None:
    """Refuse Python code that `transformers` would fetch from another repository: no digest holds what lies there.

    Raises:
        UserError: a class is named as `owner/name--module.Class`.
    """
    for name in ("config.json", "tokenizer_config.json"):
        try:
            config = json.loads((source.folder / name).read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):  # what is not JSON is refused where it is loaded
            continue
        auto_map = config.get("auto_map") if isinstance(config, dict) else None
        classes = auto_map.values() if isinstance(auto_map, dict) else [auto_map]
        for named in chain.from_iterable(found if isinstance(found, list) else [found] for found in classes):
            if isinstance(named, str) and "--" in named:
                elsewhere = named.split("--")[0]
                raise UserError(
                    f"model.path {source.name!r}: {name} in {source.folder} names code of another repository, "
                    f"{named!r}, which may change unseen: copy the .py files of {elsewhere} beside the weights, in a "
                    f"folder of your own, and take `{elsewhere}--` out."
                )


def _folder(path: str, revision: str | None, field: str) -> Path:
    if path == "embedded":
        return embedded_model()
    folder = Path(path).expanduser()
    if folder.is_dir():
        if revision is not None:
            named = field.replace("path", "revision")
            raise UserError(f"{named} {revision!r}: {path!r} is a folder, and a folder has no revisions.")
        return folder.resolve()
    if path.startswith((".", "/", "~")) or path.count("/") > 1:
        raise UserError(f"{field} {path!r}: there is no such folder.")
    from httpx2 import HTTPError
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        return Path(
            snapshot_download(
                path,
                revision=revision,
                allow_patterns=["*.safetensors", "*.json", "*.model", "*.txt", "*.jinja", "*.py"],
                ignore_patterns=[_OWN_FORMAT, "original/*"],
                token=os.environ.get("HF_TOKEN"),
            )
        )
    except RevisionNotFoundError as error:
        raise UserError(f"{field} {path!r}: the model has no revision {revision!r}.") from error
    except GatedRepoError as error:  # before `RepositoryNotFoundError`, of which it is one
        raise UserError(
            f"{field} {path!r}: the model is gated; accept its terms at https://huggingface.co/{path} and set HF_TOKEN "
            "to a token of that account."
        ) from error
    except RepositoryNotFoundError as error:
        raise UserError(
            f"{field} {path!r}: the hub has no such model, or it is private and needs the token of an account that may "
            f"read it (HF_TOKEN); a folder is written ./{path}."
        ) from error
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise UserError(
            f"{field} {path!r} is neither `embedded`, nor a folder, nor a model that the hub gave: {first_line(error)}"
        ) from error
    except (HTTPError, RuntimeError) as error:
        # A connection that is lost is no OSError, and what hf_xet meets while it fetches weights is a RuntimeError.
        raise UserError(
            f"{field} {path!r}: the hub did not give the whole model ({first_line(error).rstrip('.')}); run the same "
            "command again, and it goes on from what was fetched."
        ) from error
