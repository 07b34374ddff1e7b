"""What a worker does before it computes anything, each time in a process of its own."""

import json
import os
import subprocess
import sys

import pytest

from tests.paths import ROOT

_STATE = """
import json, os, random, sys
import numpy, torch
from bdpo.training.reproducible import make_reproducible
make_reproducible(int(sys.argv[1]), deterministic=sys.argv[2] == "True")
drawn = [random.random(), float(numpy.random.rand()), float(torch.rand(()))]
print(json.dumps([drawn, torch.are_deterministic_algorithms_enabled(), os.environ.get("CUBLAS_WORKSPACE_CONFIG")]))
"""


def state(seed: int, deterministic: bool, **environment: str) -> list[object]:
    plain = {name: value for name, value in os.environ.items() if name != "CUBLAS_WORKSPACE_CONFIG"}
    command = [sys.executable, "-c", _STATE, str(seed), str(deterministic)]
    out = subprocess.run(command, cwd=ROOT, env=plain | environment, capture_output=True, text=True, check=True)
    found: list[object] = json.loads(out.stdout)
    return found


@pytest.mark.slow
def test_seeds_are_set_everywhere_and_the_mode_is_on_only_when_asked_for() -> None:
    plain, strict = state(3, False), state(3, True)
    assert plain[0] == strict[0]
    assert state(4, False)[0] != plain[0]
    assert plain[1:] == [False, None]
    assert strict[1:] == [True, ":4096:8"]
    assert state(3, True, CUBLAS_WORKSPACE_CONFIG=":16:8")[2] == ":16:8"
