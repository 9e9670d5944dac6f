# shellcheck shell=bash
# apt_install PACKAGE...: install Debian packages where that may be done unasked, else say which to install.

apt_install() {
  local as_root=()
  if [[ "$(id -u)" != 0 ]]; then
    as_root=(sudo -n)
  fi
  if command -v apt-get >/dev/null && "${as_root[@]}" true 2>/dev/null; then
    echo "Installing with apt: $*"
    # Old package lists may still do, so a failed update alone is no reason to give up.
    "${as_root[@]}" apt-get update -qq >/dev/null || true
    if "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
      apt-get install -qq -y --no-install-recommends "$@" >/dev/null; then
      return
    fi
  fi
  echo "These system packages are missing and could not be installed from here:" >&2
  echo "  $*" >&2
  echo "Install them, then run make again:  sudo apt install $*" >&2
  return 1
}
