#!/usr/bin/env bash
# Writes requirements.lock: the packages that are in .venv now, each with the SHA-256 of all its files on PyPI.
#
# Left out, and so installed without a hash: torch, because its builds (CPU, one for each CUDA, a machine's own) share a
# version and differ in content; horovod, whose hash is in scripts/build_horovod.sh; pip, which came with Python.
set -euo pipefail
cd "$(dirname "$0")/.."

tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT
.venv/bin/python -m venv "$tools"
"$tools/bin/pip" --quiet --disable-pip-version-check install uv==0.13.9
.venv/bin/python -m pip freeze --all --exclude-editable --exclude pip --exclude torch --exclude horovod |
  "$tools/bin/uv" --quiet pip compile --no-deps --generate-hashes --no-annotate --python-version 3.11 \
    --custom-compile-command scripts/lock.sh --output-file requirements.lock -
