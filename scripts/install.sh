#!/usr/bin/env bash
# Install napari-acuity into .venv:  install.sh base  (the engine and the command line)
#                                    install.sh all   (also napari, Qt, and what tests, checks and docs need)
# Into .venv-bench:                  install.sh bench (the engine and the peers it is measured beside)
# PYTHON=python3.12 chooses the interpreter; else python3 if new enough, else the newest one found.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/apt.sh

venv=.venv

new_enough() {
  command -v "$1" >/dev/null && "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

find_python() {
  local candidate
  for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
    if new_enough "$candidate"; then
      command -v "$candidate"
      return
    fi
  done
  echo "napari-acuity needs Python 3.11 or later; none of ${PYTHON:-python3 python3.13 python3.12 python3.11} is." >&2
  echo "Install one (Debian 12, Ubuntu 24.04 and later: apt install python3 python3-venv), or name it: make PYTHON=/path/to/python" >&2
  return 1
}

# Debian ships the venv module in a package of its own.
need_venv_module() {
  "$1" -c 'import venv, ensurepip' 2>/dev/null && return
  local package
  package="$("$1" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')"
  echo "Python's venv module is missing."
  apt_install "$package"
}

make_venv() {
  "$venv/bin/python" -c '' 2>/dev/null && return
  local python
  python="$(find_python)"
  need_venv_module "$python"
  echo "Making a virtual environment in $venv with $("$python" --version)"
  "$python" -m venv --clear "$venv"
}

# A peer without a wheel for this platform is left out; the tables say so.
install_peers() {
  local peer
  while read -r peer; do
    pip_install -c constraints.txt "$peer" || echo "Left out: $peer" >&2
  done < <("$venv/bin/python" -c '
import tomllib
with open("pyproject.toml", "rb") as file:
    print(*tomllib.load(file)["dependency-groups"]["bench"], sep="\n")
')
}

pip_install() {
  "$venv/bin/python" -m pip --disable-pip-version-check install --quiet "$@"
}

# Of their own: the peers bring another OpenCV, which is no good in ours.
[[ "${1:-}" == bench ]] && venv=.venv-bench
make_venv
pip_install --upgrade 'pip>=25.1' # the first that knows dependency groups
case "${1:-}" in
  base)
    echo "Installing napari-acuity (the first time this takes a few minutes)"
    pip_install -c constraints.txt -e .
    ;;
  all)
    echo "Installing napari-acuity, napari, Qt and the developers' tools (the first time this takes a few minutes)"
    pip_install -c constraints.txt -e '.[all]' --group dev
    ;;
  bench)
    echo "Installing napari-acuity and the peers of the benchmark (the first time this takes a few minutes)"
    pip_install -c constraints.txt -e .
    install_peers
    ;;
  *)
    echo "usage: install.sh base|all|bench" >&2
    exit 2
    ;;
esac
