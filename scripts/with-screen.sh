#!/usr/bin/env bash
# with-screen.sh COMMAND...: run a command on the screen there is, else on a virtual one.
set -euo pipefail

# Qt wants a private folder and warns without one; mktemp makes it readable by its owner alone.
if [[ ! -w "${XDG_RUNTIME_DIR:-/nowhere}" ]]; then
  XDG_RUNTIME_DIR="$(mktemp -d)"
  export XDG_RUNTIME_DIR
  trap 'rm -rf "$XDG_RUNTIME_DIR"' EXIT
fi

if [[ -n "${DISPLAY:-}${WAYLAND_DISPLAY:-}" || "$(uname)" != Linux ]]; then
  "$@"
elif command -v xvfb-run >/dev/null; then
  echo "No screen here: using a virtual one (Xvfb)"
  QT_QPA_PLATFORM=xcb xvfb-run -a -s '-screen 0 1366x768x24 +extension GLX' "$@"
else
  echo "There is no screen, and no xvfb-run to make a virtual one: install xvfb, or set DISPLAY." >&2
  exit 1
fi
