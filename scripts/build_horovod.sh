#!/usr/bin/env bash
# Prints the path of a Horovod wheel for the torch in .venv, building it when the cache has none (2 to 7 minutes).
#
# Horovod 0.28.1, the last release, does not compile against torch >= 2.1 as it is: it asks for C++14. A wrapper around
# the compiler asks for C++17 last, which wins. Set HOROVOD_GPU_OPERATIONS=NCCL to build for NVIDIA GPUs.
set -euo pipefail
cd "$(dirname "$0")/.."

version=0.28.1
sha256=92a43f5a94c43907a56805bad15f19700c62ffc83b7ca483f9e104e229f67ef0 # of the release's source archive on PyPI
torch=$(.venv/bin/python -c 'from importlib.metadata import version; print(version("torch"))')
gpu=${HOROVOD_GPU_OPERATIONS:-cpu}
cache=${XDG_CACHE_HOME:-$HOME/.cache}/vasg/wheels/horovod-$version-torch-$torch-cp311-$(uname -m)-${gpu,,}
wheel=$(ls "$cache"/*.whl 2>/dev/null || true)
if [ -n "$wheel" ]; then
  echo "setup: Horovod $version is in the cache" >&2
  echo "$wheel"
  exit
fi

mkdir -p "$cache"
work=$(mktemp -d "$cache/build.XXXXXX")
log=$cache/build.log
reporter=
trap '[ -z "$reporter" ] || kill "$reporter" 2>/dev/null || true; rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

printf '#!/bin/sh\nexec %s "$@" -std=c++17\n' "${CXX:-c++}" >"$work/c++17"
chmod +x "$work/c++17"
memory_gib=$(awk '/MemAvailable/ {print int($2 / 1048576)}' /proc/meminfo)
jobs=$((memory_gib / 2 < $(nproc) ? memory_gib / 2 : $(nproc))) # a compiler process takes up to 2 GiB
jobs=$((jobs > 0 ? jobs : 1))

echo "setup: building Horovod $version for torch $torch with $jobs processes, once; 2 to 7 minutes; log: $log" >&2
SECONDS=0
while sleep 15; do
  step=$(grep -oE '\[ *[0-9]+%\] .*|(running|Running|Collecting|Created) .*' "$log" 2>/dev/null | tail -n 1 || true)
  echo "setup: building Horovod, ${SECONDS} s: ${step:0:90}" >&2
done &
reporter=$!

export CXX=$work/c++17 MAKEFLAGS=-j$jobs CMAKE_POLICY_VERSION_MINIMUM=3.5 PATH="$PWD/.venv/bin:$PATH"
export HOROVOD_WITH_PYTORCH=1 HOROVOD_WITH_GLOO=1 HOROVOD_WITHOUT_MPI=1 HOROVOD_WITHOUT_TENSORFLOW=1 HOROVOD_WITHOUT_MXNET=1
echo "horovod==$version --hash=sha256:$sha256" >"$work/requirement"
if ! .venv/bin/python -m pip wheel -v --no-cache-dir --no-build-isolation --no-deps --no-binary horovod \
  --require-hashes -r "$work/requirement" -w "$work" </dev/null >"$log" 2>&1; then
  grep -E 'error|Error' "$log" | tail -n 5 >&2 || true
  echo "setup: Horovod could not be built; the full log is $log" >&2
  exit 78
fi
mv "$work"/*.whl "$cache/" # in one step: another set-up never sees half a wheel
echo "setup: built Horovod in ${SECONDS} s" >&2
ls "$cache"/*.whl
