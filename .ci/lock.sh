#!/bin/sh
# Writes requirements.lock: the exact version of every package, resolved in a clean environment.
# No hashes: builds of torch for CPU and for CUDA share a version and differ in content.
set -eu
cd "$(dirname "$0")/.."
clean=$(mktemp -d)
trap 'rm -rf "$clean"' EXIT
"${1:-python3}" -m venv "$clean/venv"
"$clean/venv/bin/python" -m pip install --quiet --disable-pip-version-check --upgrade pip setuptools
"$clean/venv/bin/python" -m pip install --quiet --disable-pip-version-check ".[dev]"
{
    echo "# Exact versions of everything; written by 'make lock'."
    "$clean/venv/bin/python" -m pip freeze --all | grep -v -e '^bdpo' -e '^pip==' | sed 's/+cpu$//'
} > requirements.lock
