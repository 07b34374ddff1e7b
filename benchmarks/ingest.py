"""How fast ingestion is, and what memory it needs: `python -m benchmarks.ingest --rows N [--near-duplicates] [--json]`.

Rows have the size of HH-RLHF's (a prompt of about 150 words, responses of about
60), one in a hundred is broken, doubled or contradictory, and the tokenizer is
the embedded model's.  `tokenizer_rows_per_s` is the fast tokenizer alone on the
same rows' rendered texts: what a stage that tokenised each row could not exceed.
"""

import argparse
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Self

import psutil

from bdpo.config import IngestSettings, ModelSettings
from bdpo.data.files import DataFile
from bdpo.data.readers import read_blocks
from bdpo.data.rows import Candidate
from bdpo.data.sources import find_shape
from bdpo.data.stage import ingest
from bdpo.models.loading import load_tokenizer
from bdpo.models.source import resolve_model
from bdpo.progress import Silent
from data_checks import GreatExpectationsChecks

_TEXTS = ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md")
_TEXTS_EACH = 4096
"""Texts that turns are drawn from; a number in the prompt makes each row another."""
_SAMPLE = 4096
_SIMILARITY = 0.8
_PAUSE_S = 0.05


def write_rows(path: Path, num: int, seed: int = 0) -> None:
    """Write `num` transcripts as JSON lines, made of the words of the project's own documents."""
    root = Path(__file__).resolve().parents[1]
    words = re.findall(r"[A-Za-z]+[,.]?", " ".join((root / name).read_text(encoding="utf-8") for name in _TEXTS))
    chance = random.Random(seed)  # noqa: S311 - no secret is made of it

    def texts(around: int) -> list[str]:
        lengths = (max(1, round(chance.gauss(around, around / 4))) for _ in range(_TEXTS_EACH))
        return [" ".join(chance.choices(words, k=length)) for length in lengths]

    turns, answers = texts(50), texts(60)
    pick = chance.choice
    with path.open("w", encoding="utf-8") as file:
        last = {"chosen": "", "rejected": ""}
        for i in range(num):
            prompt = f"\n\nHuman: {pick(turns)}\n\nAssistant: {pick(turns)}\n\nHuman: {pick(turns)} {i}\n\nAssistant: "
            row = {"chosen": prompt + pick(answers), "rejected": prompt + pick(answers)}
            match i % 400:
                case 100:
                    row["chosen"] = prompt
                case 200:
                    row = last
                case 300:
                    row = {"chosen": last["rejected"], "rejected": last["chosen"]}
            last = row
            file.write(json.dumps(row) + "\n")


def measure(path: Path, workdir: Path, *, near_duplicates: bool = False) -> dict[str, float]:
    """Ingest a file: seconds, rows per second, and the peak of resident memory of all processes in GiB."""
    settings = {"sources": [{"path": path}], "near_duplicates": _SIMILARITY if near_duplicates else None}
    source = resolve_model("embedded")
    tokenizer = load_tokenizer(source.folder)
    before = psutil.Process().memory_info().rss / 2**30
    with _Peak() as peak:
        started = time.perf_counter()
        summary = ingest(
            settings=IngestSettings.model_validate(settings),
            model=ModelSettings(),
            tokenizer=tokenizer,
            workdir=workdir,
            checks=GreatExpectationsChecks(),
            progress=Silent(),
        )
        seconds = time.perf_counter() - started
    figures = {"rows": summary["rows"], "pairs": summary["pairs"], "seconds": seconds}
    figures |= {"rows_per_s": summary["rows"] / seconds, "start_rss_gib": before, "peak_rss_gib": peak.bytes / 2**30}
    texts: list[str] = []
    rows = 0
    shape, blocks = find_shape(read_blocks(DataFile(path, path.name)), origin=str(path), limit=_SAMPLE)
    for _, outcome in chain.from_iterable(shape.parse(block.rows()) for block in blocks):
        if isinstance(outcome, Candidate):
            rows += 1
            for response in (None, outcome.chosen, outcome.rejected):
                said = [] if response is None else [{"role": "assistant", "content": response}]
                texts.append(
                    tokenizer.apply_chat_template(
                        [*outcome.prompt, *said], tokenize=False, add_generation_prompt=response is None
                    )
                )
    started = time.perf_counter()
    tokenizer(texts, add_special_tokens=False)
    return figures | {"tokenizer_rows_per_s": rows / (time.perf_counter() - started)}


class _Peak:
    """The most memory of this process and those it starts together, looked at every `_PAUSE_S` seconds."""

    def __init__(self) -> None:
        self.bytes = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *problem: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        this = psutil.Process()
        while not self._ended.wait(_PAUSE_S):
            total = 0
            for process in (this, *this.children(recursive=True)):
                with suppress(psutil.NoSuchProcess):
                    total += process.memory_info().rss
            self.bytes = max(self.bytes, total)


def main() -> None:
    """Measure in a process of its own, so that making the rows does not count."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ingest", description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000, help="rows to ingest (20,000)")
    parser.add_argument("--near-duplicates", action="store_true", help="look for near-duplicates too")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--folder", type=Path, help="where rows and artifact are made and removed (a temporary one)")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure is not None:
        workdir = options.measure.parent / "out"
        print(json.dumps(measure(options.measure, workdir, near_duplicates=options.near_duplicates)))  # noqa: T201
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        rows = Path(folder, "rows.jsonl")
        Path(folder, "out", "scratch").mkdir(parents=True)
        write_rows(rows, options.rows)
        command = [sys.executable, "-m", "benchmarks.ingest", "--measure", str(rows)]
        command += ["--near-duplicates"] if options.near_duplicates else []
        output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    figures = {**json.loads(output.splitlines()[-1]), "cores": len(os.sched_getaffinity(0))}
    if options.json:
        print(json.dumps(figures))  # noqa: T201
        return
    for name, value in figures.items():
        print(f"{name:22} {value:,.2f}" if isinstance(value, float) else f"{name:22} {value:,}")  # noqa: T201


if __name__ == "__main__":
    main()
