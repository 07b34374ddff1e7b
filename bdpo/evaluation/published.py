"""Benchmarks by name, from where their authors published them: a pinned commit, a checked digest where one is known.

Source, licence and scoring rule of each stand with its format in `bdpo.evaluation.formats`.  A file is fetched
once and kept in the cache folder (`BDPO_CACHE`); without a network, download it and give its `path`.
"""

import hashlib
import http.client
import io
import json
import urllib.request
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from bdpo.artifacts.digest import digest_file
from bdpo.artifacts.locks import hold
from bdpo.artifacts.store import write_atomically
from bdpo.config.evaluate import BenchmarkFormat, BenchmarkSettings, PublishedBenchmark
from bdpo.errors import UserError
from bdpo.evaluation.web import USER_AGENT
from bdpo.models.embedded import cache_folder

_GITHUB = "https://raw.githubusercontent.com"
_JAILBREAKBENCH = f"{_GITHUB}/JailbreakBench/artifacts/1b8eaeb1d71869cf2621cbe8f1f3dbf6b8fe8d4c/attack-artifacts"
_HHH = f"{_GITHUB}/google/BIG-bench/092b196c1f8f14a54bbc62f24759d43bde46dd3b/bigbench/benchmark_tasks/hhh_alignment"
_TIMEOUT_S = 60


def _as_it_is(files: Sequence[bytes]) -> bytes:
    (only,) = files
    return only


def _dev_of_zip(files: Sequence[bytes]) -> bytes:
    """`dev.json` of AdvGLUE's archive, in whichever folder."""
    with zipfile.ZipFile(io.BytesIO(_as_it_is(files))) as archive:
        (name,) = (n for n in archive.namelist() if n.rpartition("/")[2] == "dev.json" and "__MACOSX" not in n)
        return archive.read(name)


def _all_examples(files: Sequence[bytes]) -> bytes:
    """One BIG-bench document with the examples of several, each with the name of its own."""
    documents = map(json.loads, files)
    examples = [example | {"subset": part["name"]} for part in documents for example in part["examples"]]
    return json.dumps({"examples": examples}, ensure_ascii=False).encode()


class Published(NamedTuple):
    """Where a benchmark is."""

    file: str
    """Its name in the cache; the suffix says how it is read."""
    format: BenchmarkFormat
    urls: tuple[str, ...]
    sha256: str | None
    """Of the file that `assemble` gives; None where the authors' place is not pinned or gives several files."""
    assemble: Callable[[Sequence[bytes]], bytes] = _as_it_is
    """What the URLs hold, to one file."""


def _attack(method: str, model: str, sha256: str) -> Published:
    file = f"{method.partition('/')[0]}-{model}.json"
    return Published(file, "jailbreakbench", (f"{_JAILBREAKBENCH}/{method}/{model}.json",), sha256)


PUBLISHED: Mapping[PublishedBenchmark, Published] = {
    "xstest": Published(
        "xstest_prompts.csv",
        "xstest",
        (f"{_GITHUB}/paul-rottger/xstest/475f10bf0a3d6a9dfb174b6de1a38afbfdff98a5/xstest_prompts.csv",),
        "11783fb294ed017473ee53c207d71f2161c7672c8d0b037501e78387f801cb5a",
    ),
    "strongreject": Published(
        "strongreject_dataset.csv",
        "strongreject",
        (
            f"{_GITHUB}/alexandrasouly/strongreject/f7cad6c17e624e21d8df2278e918ae1dddb4cb56"
            "/strongreject_dataset/strongreject_dataset.csv",
        ),
        "4dd70357e4ff8b5d0ba5ebafecab5d6dd5633ce8046e3dd1c8bd93e64de44381",
    ),
    "harmbench": Published(
        "harmbench_behaviors_text_all.csv",
        "harmbench",
        (
            f"{_GITHUB}/centerforaisafety/HarmBench/8e1604d1171fe8a48d8febecd22f600e462bdcdd"
            "/data/behavior_datasets/harmbench_behaviors_text_all.csv",
        ),
        "8d81accedd38eaaf8b760618622bb888417d1fd0c86eba65c427a16f1cbb4afc",
    ),
    "advbench": Published(
        "harmful_behaviors.csv",
        "advbench",
        (
            f"{_GITHUB}/llm-attacks/llm-attacks/098262edf85f807224e70ecd87b9d83716bf6b73"
            "/data/advbench/harmful_behaviors.csv",
        ),
        "6cd1a5c63c07610d7eb67307772ee5606017ee950b5770ab288a2c487489d3e1",
    ),
    "gcg-vicuna": _attack(
        "GCG/white_box", "vicuna-13b-v1.5", "9eff8b6f78cae002737868ca8cdd886be5afcd1cbbbe4cf51ff837bc688b01b1"
    ),
    "gcg-llama2": _attack(
        "GCG/white_box", "llama-2-7b-chat-hf", "f76cbaf899c79ca8eed6a6ed26d6f8789933c5595a9a5ee028e305dec4dd95f7"
    ),
    "gcg-gpt35": _attack(
        "GCG/transfer", "gpt-3.5-turbo-1106", "ff185b1dc73732d830e96efdb3f4a92294ee72e9c88a1800b1d11d4ecb3d4cdf"
    ),
    "pair-vicuna": _attack(
        "PAIR/black_box", "vicuna-13b-v1.5", "18b101386419a98fbdf45cb987069f83af3a40d5e0f7f0d32c4e9dc5ecc049b4"
    ),
    "pair-llama2": _attack(
        "PAIR/black_box", "llama-2-7b-chat-hf", "02819296c5d992568d732d37813b2ce34624068a20f21025c04c04d52820b029"
    ),
    "pair-gpt35": _attack(
        "PAIR/black_box", "gpt-3.5-turbo-1106", "49e007ce488e606cede7ffc8b022e35080b7f3870956e4cb2423d9b42749c78f"
    ),
    "jbc-vicuna": _attack(
        "JBC/manual", "vicuna-13b-v1.5", "1d5df5aa451c3d1bb8a4c048a7b2e1e6132e72f2970cb9d94ffc77f44e0edb39"
    ),
    "gsm8k": Published(
        "gsm8k_test.jsonl",
        "gsm8k",
        (
            f"{_GITHUB}/openai/grade-school-math/3101c7d5072418e28b9008a6636bde82a006892c"
            "/grade_school_math/data/test.jsonl",
        ),
        "3730d312f6e3440559ace48831e51066acaca737f6eabec99bccb9e4b3c39d14",
    ),
    "simpleqa": Published(
        "simple_qa_test_set.csv",
        "simpleqa",
        ("https://openaipublic.blob.core.windows.net/simple-evals/simple_qa_test_set.csv",),
        None,
    ),
    "advglue": Published(
        "advglue_dev.json", "advglue", ("https://adversarialglue.github.io/dataset/dev.zip",), None, _dev_of_zip
    ),
    "hhh": Published(
        "hhh.json",
        "hhh",
        tuple(f"{_HHH}/{part}/task.json" for part in ("harmless", "helpful", "honest", "other")),
        None,
        _all_examples,
    ),
}
"""Digests are those of the files that this project was developed with, or published by several others."""


def locate(benchmark: BenchmarkSettings) -> Path:
    """The local file of a benchmark, fetched first if it is published and not kept yet.

    Raises:
        UserError: it cannot be fetched, or is not the file that is expected.
    """
    if benchmark.path is not None:
        return benchmark.path
    assert benchmark.published is not None, "a benchmark has a path or a name"
    return fetch(benchmark.published)


def fetch(name: PublishedBenchmark) -> Path:
    """A published benchmark's file in the cache; one that is not what its digest says is fetched again.

    Raises:
        UserError: it cannot be fetched, or is not the file that is expected.
    """
    known = PUBLISHED[name]
    source = hashlib.sha256(" ".join(known.urls).encode()).hexdigest()[:12]
    path = cache_folder() / "benchmarks" / source / known.file
    if _is_kept(path, known):
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    with hold(Path(f"{path}.lock"), lambda: None):
        if _is_kept(path, known):
            return path
        files = [_download(name, url) for url in known.urls]
        try:
            content = known.assemble(files)
            text = content.decode("utf-8")
        except (ValueError, KeyError, zipfile.BadZipFile):
            raise UserError(f"benchmark {name!r}: {known.urls[0]} holds another file than expected.") from None
        found = hashlib.sha256(content).hexdigest()
        if known.sha256 is not None and found != known.sha256:
            raise UserError(
                f"benchmark {name!r}: the sha256 of {known.urls[0]} is {found}, but {known.sha256} is expected."
            )
        write_atomically(path, text)
    return path


def _is_kept(path: Path, known: Published) -> bool:
    return path.is_file() and known.sha256 in (None, digest_file(path))


def _download(name: str, url: str) -> bytes:
    try:
        request = urllib.request.Request(url, headers={"User-Agent": USER_AGENT})  # noqa: S310 - of the table above
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as response:  # noqa: S310
            content: bytes = response.read()
            return content
    except (OSError, http.client.HTTPException) as error:  # the second where the connection ends too early
        reason = getattr(error, "reason", None) or error
        raise UserError(
            f"benchmark {name!r} cannot be fetched from {url}: {reason}; "
            "where there is no network, download it elsewhere and give its `path`."
        ) from None
