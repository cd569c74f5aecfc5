#!/usr/bin/env bash
# Sets up .venv for this checkout: Java, a compiler, pinned packages, Horovod, the project itself.
# `make` calls it before everything else; when nothing changed since the last time it ends at once.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { echo "setup: $*"; }
fail() { echo "setup: $*" >&2; exit 78; }

# PyPI's own torch for Linux brings gigabytes of CUDA; PyTorch's index has the CPU build. Unreachable, it is
# passed over: the CPU build has to come from where pip's own configuration finds it.
# VASG_TORCH replaces this by any other arguments for pip, see "GPU" in CONTRIBUTING.md.
torch=${VASG_TORCH:---extra-index-url https://download.pytorch.org/whl/cpu $(grep '^torch==' requirements.txt)}
gpu=${HOROVOD_GPU_OPERATIONS:-}
stamp=.venv/setup-done
key=$({ cat requirements.txt requirements.lock setup.py scripts/*.sh scripts/*.py; echo "$PWD $torch $gpu"; } | sha256sum)
[ "$(cat $stamp 2>/dev/null)" = "$key" ] && exit 0
rm -f $stamp  # from here on the environment is neither the old nor the new one
started=$SECONDS

# ---- what only the system can provide ----

python=
for candidate in "${PYTHON:-}" python3.11 python3 python; do
  if [ -n "$candidate" ] && "$candidate" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null; then
    python=$candidate && break
  fi
done
[ -n "$python" ] || fail "Python 3.11 was not found; install it (Debian 12: apt-get install python3.11, elsewhere: pyenv install 3.11) or run make PYTHON=/path/to/python3.11"

java_major() { "${JAVA_HOME:+$JAVA_HOME/bin/}java" -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p'; }
java_works() { case "$(java_major)" in 17 | 21) ;; *) false ;; esac; }
first_available() { for name in "$@"; do LC_ALL=C apt-cache policy "$name" 2>/dev/null | grep -q 'Candidate: [^(]' && echo "$name" && return; done; echo "$1"; }
as_root() { [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; }

if ! java_works && as_root; then apt-get update >/dev/null </dev/null || true; fi  # fresh containers know of no package

packages=()
java_works || packages+=("$(first_available openjdk-17-jre-headless openjdk-21-jre-headless)")
command -v c++ >/dev/null || packages+=(g++)
"$python" -c 'import os, sysconfig; open(os.path.join(sysconfig.get_paths()["include"], "Python.h"))' 2>/dev/null || packages+=(python3.11-dev)
"$python" -c 'import ensurepip, venv' 2>/dev/null || packages+=(python3.11-venv)
if [ ${#packages[@]} -gt 0 ]; then
  install="apt-get install -y --no-install-recommends ${packages[*]}"
  if as_root; then
    say "installing ${packages[*]} with apt-get"
    log=$(mktemp)
    { apt-get update && DEBIAN_FRONTEND=noninteractive $install; } </dev/null >"$log" 2>&1 ||
      { tail -n 5 "$log" >&2; fail "'$install' failed; the full log is $log"; }
    rm "$log"
  else
    fail "missing on this machine: ${packages[*]}. As root run: apt-get update && $install"
  fi
fi
java_works || fail "Spark needs Java 17 or 21, but ${JAVA_HOME:-the java on PATH} is version $(java_major); set JAVA_HOME to one of: $(ls -d /usr/lib/jvm/*-17-* /usr/lib/jvm/*-21-* 2>/dev/null | tr "\n" " ")"

# ---- Python packages ----

.venv/bin/python -m pip --version >/dev/null 2>&1 ||  # none, or one that was interrupted
  { say "creating .venv with $($python --version)"; "$python" -m venv --clear .venv; }
log=$PWD/.venv/pip.log
: >"$log"
pip_install() {
  .venv/bin/python -m pip --disable-pip-version-check install "$@" </dev/null >>"$log" 2>&1 ||
    { grep '^ERROR' "$log" | tail -n 5 >&2 || true; fail "pip install $* failed; the full log is $log"; }
}
say "installing PyTorch"
# A build for another device counts as the same version, so pip would leave it.
last=$(cat .venv/torch 2>/dev/null || echo "${VASG_TORCH:+unknown}")
[ "${last:-$torch}" = "$torch" ] || .venv/bin/python -m pip uninstall -y torch >>"$log" 2>&1
# shellcheck disable=SC2086  # $torch is several arguments
if [ -n "${VASG_TORCH:-}" ]; then pip_install $torch; else pip_install --no-deps --retries 1 $torch; fi  # CUDA's libraries
echo "$torch" >.venv/torch
say "installing $(grep -c == requirements.lock) packages into .venv (about 1 GB the first time)"
# Every file is compared with its hash before anything in it runs. pyspark comes as source: pip must build it with the
# setuptools of the lock, not with whichever it would fetch for that, unchecked.
sed -n '/^\(packaging\|setuptools\|wheel\)==/,/[^\\]$/p' requirements.lock >.venv/builders
pip_install --require-hashes -r .venv/builders
pip_install --require-hashes --no-build-isolation -r requirements.lock

# ---- Horovod, built once for all checkouts of this user ----

wheel=$(scripts/build_horovod.sh)
pip_install --no-deps --force-reinstall "$wheel"
pip_install --no-deps --no-build-isolation -e .

# ---- Spark's classes as Java maps them: two seconds less at every start (vasg/pipeline/runner.py uses it where it is) ----

say "archiving Spark's Java classes"
rm -f .venv/spark-classes.*
PYSPARK_PYTHON=$PWD/.venv/bin/python SPARK_SUBMIT_OPTS="-XX:ArchiveClassesAtExit=$PWD/.venv/spark-classes.new" \
  .venv/bin/spark-submit --properties-file spark_conf/local.conf scripts/spark_classes.py </dev/null >>"$log" 2>&1 ||
  fail "Spark does not run; the full log is $log"
mv .venv/spark-classes.new .venv/spark-classes.jsa  # whole or not at all: Java believes what an archive says

.venv/bin/vasg doctor || fail "set-up finished, but the checks above say that something is missing"
echo "$key" >$stamp
say "done in $((SECONDS - started)) s"
