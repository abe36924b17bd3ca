#!/bin/sh
# Make .venv from requirements.txt, or leave it alone when nothing it depends on has changed.
# Usage: sh .ci/environment.sh [python]
set -u

python=${1:-python3}
log=.venv/install.log

stop() {
    printf '%s\n' "$1" >&2
    exit 1
}

command -v "$python" >/dev/null 2>&1 ||
    stop "No $python was found: install Python 3.11 or newer, or name one with make PYTHON=/path/to/python."
version=$("$python" -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])' 2>/dev/null) ||
    stop "$python does not start: install Python 3.11 or newer, or name one with make PYTHON=/path/to/python."
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    stop "The book needs Python 3.11 or newer and $python is $version: name another with make PYTHON=/path/to/python."

# The folder is part of the signature because an environment does not survive being moved.
signature="$version $PWD $(cat requirements.txt pyproject.toml .ci/environment.sh | cksum)"
if [ -x .venv/bin/python ] && [ "$(cat .venv/signature 2>/dev/null)" = "$signature" ]; then
    exit 0
fi

"$python" -c 'import venv, ensurepip' >/dev/null 2>&1 ||
    stop "$python has no venv module: install it (on Debian and Ubuntu: apt install python3-venv) and try again."

printf 'Making .venv with Python %s from requirements.txt (the log is %s)\n' "$version" "$log"
rm -rf .venv
mkdir .venv || stop "The folder .venv cannot be made here."
"$python" -m venv .venv >"$log" 2>&1 ||
    stop "$python could not make a virtual environment; $log says why."

if ! .venv/bin/python -m pip install --disable-pip-version-check -r requirements.txt >>"$log" 2>&1; then
    if grep -q -E 'connection broken by|Max retries exceeded|ConnectionError|ReadTimeoutError|hatchling.*from versions: none' "$log"; then
        stop "The package index could not be reached: connect to the network and try again ($log has the details)."
    fi
    printf 'pip could not install requirements.txt; the end of %s says why:\n' "$log" >&2
    tail -n 6 "$log" | cut -c 1-160 >&2
    exit 1
fi
printf '%s\n' "$signature" >.venv/signature
