# Shared by the scripts: saying what happens, and Debian packages when we may. Sourced, not run.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
unset PYTHONDONTWRITEBYTECODE # compiled once: without it every start of a server costs a second more

say() { printf '\033[1m==> %s\033[0m\n' "$*"; }
note() { printf '    %s\n' "$*"; }
fail() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}

# How a Debian package can be installed here; prints nothing when it cannot.
as_root() {
  command -v apt-get >/dev/null || return 0
  if [ "$(id -u)" = 0 ]; then
    echo env
  elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
    echo "sudo -n env"
  fi
}

# need_debian PACKAGE...: installs them and answers 0, or answers 1 when this user may not.
need_debian() {
  local root
  root=$(as_root)
  [ -n "$root" ] || return 1
  say "Installing Debian packages: $*"
  if ! $root DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@" >/dev/null 2>&1; then
    $root apt-get update -q >/dev/null &&
      $root DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@" >/dev/null
  fi
}

# timed NAME COMMAND...: runs it and says how long it took; its output is shown as it comes.
timed() {
  local name=$1 start=$SECONDS
  shift
  say "$name"
  "$@" || fail "$name: failed after $((SECONDS - start)) s"
  note "$name: good, $((SECONDS - start)) s"
}
