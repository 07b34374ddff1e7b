"""Which code may import which: the arrows of the design, read from the source; and what is imported only when used."""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.command import environment_of
from tests.paths import ROOT
from tests.tiny_run import tiny_run

LAYERS = (
    {"errors", "interrupts", "lifetime", "ngrams", "packages", "progress", "schemas", "transcripts", "versions"},
    {"artifacts", "config"},
    {"models"},
    {"layout", "logprobs"},
    {"balance", "losses"},
    {"data", "scoring", "training", "evaluation"},
    {"fingerprints"},
    {"stages"},
    {"pipeline"},
    {"ablation"},
    {"terminal"},
    {"cli"},
)
"""Parts of bdpo, the lowest first; a part imports from its own layer or from below."""
STAGES = LAYERS[5]
LEVEL = {part: level for level, parts in enumerate(LAYERS) for part in parts}
ONE_IMPORTER = {
    "bitsandbytes": "bdpo/models/quantized.py",
    "deepspeed": "bdpo/training/engine.py",
    "fsspec": "bdpo/artifacts/bucket.py",
    "great_expectations": "data_checks",
    "mlflow": "bdpo/training/mlflow_tracker.py",
    "prefect": "flows",
    "wandb": "bdpo/training/wandb_tracker.py",
}
"""Heavy dependencies, and the only place that may import each."""


def sources(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def imported(path: Path) -> Iterator[tuple[int, str]]:
    """Line and dotted name of every import of a file, those inside functions too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import"
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def part_of(path: Path) -> str:
    """`bdpo/data/rows.py` -> `data`, `bdpo/errors.py` -> `errors`."""
    return path.relative_to(ROOT / "bdpo").parts[0].removesuffix(".py")


def forbidden(path: Path, module: str) -> str | None:
    """Why a file may not import a module, or None."""
    top, _, rest = module.partition(".")
    owner = ONE_IMPORTER.get(top)
    name = str(path.relative_to(ROOT))
    if owner is not None and not name.startswith(owner):
        return f"only {owner} imports {top}"
    folder = path.relative_to(ROOT).parts[0]
    if folder == "data_checks":
        allowed = top != "flows" and (top != "bdpo" or rest.split(".")[0] in ("schemas", "errors"))
        return None if allowed else "data_checks knows the schemas of bdpo and nothing else of it"
    if folder != "bdpo":
        return None
    part = part_of(path)
    if top in ("flows", "data_checks"):
        return None if part == "cli" else "of bdpo only cli imports flows and data_checks"
    target = rest.split(".")[0]
    if top != "bdpo" or target not in LEVEL or part == "__init__":
        return None
    if LEVEL[target] > LEVEL[part]:
        return f"{part} lies below {target}"
    if part in STAGES and target in STAGES and part != target:
        return "no stage imports another"
    return None


def test_the_arrows_point_down() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line}: {module}: {why}"
        for path in sources("bdpo", "flows", "data_checks")
        for line, module in imported(path)
        if (why := forbidden(path, module)) is not None
    ]
    assert not wrong, "\n".join(wrong)


def test_every_part_has_its_layer() -> None:
    parts = {part_of(path) for path in sources("bdpo")} - {"__init__"}
    assert parts == LEVEL.keys()


@pytest.mark.parametrize(
    ("file", "module"),
    [
        ("bdpo/scoring/merge.py", "bdpo.training.stage"),
        ("bdpo/losses.py", "bdpo.training.stage"),
        ("bdpo/pipeline/run.py", "data_checks"),
        ("bdpo/training/stage.py", "deepspeed"),
        ("bdpo/cli/run.py", "prefect"),
        ("data_checks/suites.py", "bdpo.data.rows"),
    ],
)
def test_a_wrong_arrow_is_found(file: str, module: str) -> None:
    assert forbidden(ROOT / file, module) is not None


def test_duckdb_is_opened_in_one_place() -> None:
    opening = {
        str(path.relative_to(ROOT))
        for path in sources("bdpo", "flows", "data_checks")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and ast.unparse(node) == "duckdb.connect"
    }
    assert opening == {"bdpo/artifacts/duck.py"}


_PLAN = """
import json, sys
from pathlib import Path
import flows.flow
from bdpo.cli.run import plan
plan(Path(sys.argv[1]))
slow = {"datasets", "great_expectations", "pandas", "prefect.server.api.server", "torch", "transformers"}
print(json.dumps(sorted(slow & sys.modules.keys())))
"""


def test_what_is_cached_waits_for_no_import(tmp_path: Path) -> None:
    """Each of these takes seconds, and a plan or a cached run does without."""
    command = [sys.executable, "-c", _PLAN, str(tiny_run(tmp_path, 4))]
    environment = environment_of(tmp_path / "home")
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.splitlines()[-1]) == []
