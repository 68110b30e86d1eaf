#!/usr/bin/env bash
# The whole experiment, from raw data to the table of the paper: bash run_all.sh --help
#
# Here: a python that has the packages, else .venv with the pinned ones. What is run, and in which
# order, stands in w2s/phases.py; what it trains with, in recipes/.
if [ -z "${BASH_VERSION:-}" ]; then  # sh stops here: what follows is read only by bash
  echo "error: run_all.sh is a script of bash: say bash run_all.sh (Windows: in WSL)" >&2; exit 2
fi
set -euo pipefail
export W2S_FROM=$PWD
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$HERE"

die() { echo "error: $1" >&2; exit 1; }
ASKED='' PRESET=miniature PLAN=w2s.experiment
for word in "$@"; do case $word in --dry-run|--help|-h) ASKED=$word ;; esac; done
case ${1:-} in -*|'') ;; *) PRESET=$1; if [[ $1 == sweep || ${2:-} == sweep ]]; then PLAN=w2s.sweep; fi ;; esac

NEED="torch tokenizers safetensors numpy tqdm"
FILES=(-r requirements.txt -r requirements-figures.txt)
if [[ $PRESET == test ]]; then
  NEED="$NEED pytest xdist matplotlib transformers sklearn fairlearn opacus dp_accounting peft trl chess
  pyflakes"
  FILES+=(-r requirements-dev.txt)
fi
has() { [[ -x $(command -v "$1") ]] && "$1" - $NEED 2>/dev/null <<'P'
import sys; from importlib.util import find_spec; sys.exit(not all(map(find_spec, sys.argv[1:])))
P
}
new() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }
if [[ -n ${PYTHON:-} ]] && ! new "$PYTHON"; then
  die "PYTHON=$PYTHON: is no Python 3.11 or newer; name another, or leave it out"
fi
PY='' BASE=''
for candidate in "${PYTHON:-}" .venv/bin/python python3 python3.13 python3.12 python3.11; do
  if [[ -z $candidate ]] || ! new "$candidate"; then continue; fi
  if [[ -z $BASE ]]; then BASE=$candidate; fi
  if has "$candidate"; then PY=$candidate; break; fi
done
if [[ -z $BASE ]]; then die "Python 3.11 or newer is needed, and is neither python3 nor \$PYTHON"; fi
if [[ -z $PY && -n $ASKED ]]; then  # these need no package
  export W2S_PYTHON=.venv/bin/python
  exec "$BASE" -m "$PLAN" "$@"
fi
if [[ -z $PY ]]; then
  echo "installing the packages into .venv: about 1 GB (with CUDA several), some minutes" >&2
  { [[ -x .venv/bin/python ]] || "$BASE" -m venv .venv; } || die "python3 -m venv failed; install python3-venv"
  .venv/bin/python -m pip install -q "$(grep ^torch== requirements.txt)" && \
  .venv/bin/python -m pip install -q "${FILES[@]}" || die "pip could not install the packages; see above"
  PY=.venv/bin/python
fi
if [[ $PRESET == test ]]; then  # a process a core, each with files of its own
  exec "$PY" -m pytest -q -n auto --maxprocesses 4 --dist loadfile tests
fi
export W2S_PYTHON=$PY
exec "$PY" -m "$PLAN" "$@"
