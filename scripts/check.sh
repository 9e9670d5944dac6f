#!/usr/bin/env bash
# Run every static check, also after one has failed, and say at the end which did.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

bin=.venv/bin
failed=()

check() {
  local name="$1"
  shift
  echo "== $name"
  "$@" || failed+=("$name")
}

check "ruff check" "$bin/ruff" check .
check "ruff format" "$bin/ruff" format --check .
check "mypy" "$bin/mypy"
check "manifest" "$bin/npe2" validate src/napari_acuity/napari.yaml
# Without the plugins that load Qt: checking needs no system library.
check "imports" "$bin/python" -m pytest -q -p no:pytest-qt -p no:napari tests/test_import_wall.py

if ((${#failed[@]})); then
  printf 'Failed: %s\n' "${failed[@]}" >&2
  exit 1
fi
echo "All checks passed"
