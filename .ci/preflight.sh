#!/bin/sh
# Names everything that is missing before anything is installed.  $1: the Python to use.
missing=""
note() { missing="$missing
  - $1"; }

[ "$(uname -s)" = Linux ] || note "Linux (this is $(uname -s))"

if ! command -v "$1" >/dev/null 2>&1; then
    note "Python 3.11 or newer ('$1' is not a command; name another with: make PYTHON=python3.12 ...)"
else
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        note "Python 3.11 or newer ('$1' is $("$1" -V 2>&1); name another with: make PYTHON=python3.12 ...)"
    "$1" -c 'import venv, ensurepip' 2>/dev/null || note "Python's venv module (on Debian: apt install python3-venv)"
    # DeepSpeed compiles a small extension against Python's headers when it first starts.
    "$1" -c 'import os, sysconfig, sys; sys.exit(not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")))' ||
        note "Python's headers, Python.h (on Debian: apt install python3-dev)"
fi
command -v git >/dev/null 2>&1 || note "git"
if ! command -v "${CXX:-c++}" >/dev/null 2>&1 && ! command -v g++ >/dev/null 2>&1; then
    note "a C++ compiler (on Debian: apt install g++)"
fi
if [ ! -e .venv/.setup-done ]; then  # else it is all here already
    space=$(df -Pk . | awk 'NR == 2 {print int($4 / 1048576)}')
    [ "$space" -ge 6 ] || note "6 GiB of free disk here, and 15 for torch with CUDA (there are $space)"
fi

if [ -n "$missing" ]; then
    printf 'Nothing was installed. This machine lacks:%s\n' "$missing" >&2
    exit 1
fi
