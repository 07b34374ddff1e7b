"""The manifest that makes a folder an artifact."""

import importlib.metadata
import json
import os
import platform
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from bdpo.artifacts.digest import digest_file, digest_value

MANIFEST = "manifest.json"
_DIGEST = "digest"
"""Beside a manifest's fields in its file."""
_PACKAGES = (
    "bdpo", "datasets", "deepspeed", "duckdb", "great-expectations", "prefect", "pyarrow", "torch", "transformers",
)  # fmt: skip
_CONTENT_SUFFIXES = (".parquet", ".safetensors")


class FileEntry(BaseModel):
    """One file of an artifact."""

    model_config = ConfigDict(extra="forbid")

    sha256: str
    size: int


class Manifest(BaseModel):
    """What an artifact is, what it was made from, by what, on what, and in what time."""

    model_config = ConfigDict(extra="forbid")

    stage: str
    fingerprint: str
    run: str
    """`name` of the config that made it."""
    reads: dict[str, Any]
    """Every setting and outside file that the fingerprint covers: dotted name to value or digest."""
    inputs: dict[str, str]
    """Stage it stands on, to the content digest that this stage's artifact had."""
    files: dict[str, FileEntry]
    """Relative path to size and digest; everything in the folder but this manifest."""
    content: str
    """Digest of the data files, without logs and pages that carry times of day."""
    summary: dict[str, Any]
    """The stage's own counts and figures."""
    versions: dict[str, str]
    machine: dict[str, Any]
    finished: str
    """ISO 8601, UTC."""
    seconds: float
    """Time of the attempt that finished it."""
    forced_by: str | None = None
    """The request that forced it, such as a flow run: the same one, made again, finds it."""


def list_files(folder: Path, *, without: str | None = None) -> dict[str, FileEntry]:
    """Size and digest of every file below a folder, the manifest and the subfolder `without` apart."""
    names = (p.relative_to(folder) for p in folder.rglob("*") if p.is_file())
    kept = sorted(name for name in names if str(name) != MANIFEST and name.parts[0] != without)
    with ThreadPoolExecutor() as pool:
        digests = list(pool.map(lambda name: digest_file(folder / name), kept))
    return {
        str(name): FileEntry(sha256=digest, size=(folder / name).stat().st_size)
        for name, digest in zip(kept, digests, strict=True)
    }


def content_digest(files: dict[str, FileEntry]) -> str:
    """Digest of the files that later stages read (Parquet and safetensors)."""
    return digest_value({name: entry.sha256 for name, entry in files.items() if name.endswith(_CONTENT_SUFFIXES)})


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest of a folder; None where there is none that can be read and is as it was written."""
    try:
        return parse_manifest((folder / MANIFEST).read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None


def parse_manifest(text: bytes) -> Manifest:
    """What `manifest_text` wrote; an old manifest may hold no digest of itself.

    Raises:
        ValueError: it is not a manifest, or not what was written.
    """
    fields = json.loads(text)
    if not isinstance(fields, dict):
        raise ValueError("a manifest is a JSON object")
    digest = fields.pop(_DIGEST, None)
    if digest is not None and digest != digest_value(fields):
        raise ValueError("the manifest is not what its digest says")
    return Manifest.model_validate(fields)


def manifest_text(manifest: Manifest) -> str:
    """What `manifest.json` holds: the manifest and, last, the digest of all that stands above."""
    fields = json.loads(manifest.model_dump_json())
    return json.dumps(fields | {_DIGEST: digest_value(fields)}, indent=2, ensure_ascii=False) + "\n"


def find_damage(folder: Path, manifest: Manifest) -> str | None:
    """Compare a folder with its manifest; what is wrong in words, or None."""
    damages = (file_damage(folder, name, entry) for name, entry in manifest.files.items())
    return next((damage for damage in damages if damage is not None), None)


def file_damage(folder: Path, name: str, entry: FileEntry) -> str | None:
    """Compare one file with what was noted of it; what is wrong in words, or None."""
    path = folder / name
    if not path.is_file():
        return f"{name} is missing"
    size = path.stat().st_size
    if size != entry.size:
        return f"{name} has {size} bytes where the manifest says {entry.size}"
    if digest_file(path) != entry.sha256:
        return f"{name} was altered: its digest is not the manifest's"
    return None


def package_versions() -> dict[str, str]:
    """Versions of Python and of the packages that results depend on."""
    return {"python": platform.python_version()} | {
        name: importlib.metadata.version(name) for name in _PACKAGES if _installed(name)
    }


def describe_machine() -> dict[str, Any]:
    """Cores, memory and system; nothing that names the machine or its user."""
    pages, page_size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    return {
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": round(pages * page_size / 2**30, 1),
        "system": platform.platform(),
        "processor": platform.machine(),
    }


def _installed(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
