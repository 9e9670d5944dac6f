#!/usr/bin/env bash
# Make sure that the libraries Qt and OpenGL need are there, and a virtual screen (Debian and Ubuntu).
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/apt.sh

packages=(
  xvfb xauth                                                       # a screen where there is none
  libgl1 libegl1 libopengl0 libgl1-mesa-dri libglx-mesa0           # OpenGL, in software if need be
  libglib2.0-0 libdbus-1-3 libfontconfig1                          # Qt
  libxkbcommon-x11-0 libxcb-cursor0 libxcb-icccm4 libxcb-image0    # Qt on X11
  libxcb-keysyms1 libxcb-randr0 libxcb-render-util0 libxcb-shape0 libxcb-xinerama0
)

# Debian 13 and Ubuntu 24.04 renamed some libraries when their time_t grew to 64 bits.
installed() {
  local status
  status="$(dpkg-query -W -f '${Status}\n' "$1" "$1t64" 2>/dev/null || true)"
  [[ "$status" == *"install ok installed"* ]]
}

if [[ "$(uname)" != Linux ]]; then
  exit 0 # macOS brings its own screen and libraries
fi
if ! command -v dpkg-query >/dev/null; then
  echo "This is no Debian: if napari does not start, install your system's counterparts of ${packages[*]}"
  exit 0
fi

missing=()
for package in "${packages[@]}"; do
  installed "$package" || missing+=("$package")
done
if ((${#missing[@]})); then
  apt_install "${missing[@]}"
fi
