# Sourced by the scripts beside it. `setup [EXTRA]` leaves a .venv in which the project is installed (editable),
# with that extra if one is named; it does nothing when the files that say what to install are those of last time.
# Then $python is the interpreter to use, and the working folder is the project's.

set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)"
cd "$root"
python="$root/.venv/bin/python"

say() {
    printf '%s: %s\n' "scripts/$(basename "$0")" "$*" >&2
}

recent() { # PYTHON: does it run, and is it new enough?
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

find_python() { # prints the interpreter to make .venv with
    local candidate
    if [ -n "${PYTHON:-}" ]; then
        if ! recent "$PYTHON"; then
            say "PYTHON=$PYTHON is not a Python 3.11 or newer"
            return 1
        fi
        printf '%s\n' "$PYTHON"
        return
    fi
    for candidate in python3 python3.14 python3.13 python3.12 python3.11 python; do
        if recent "$candidate"; then
            printf '%s\n' "$candidate"
            return
        fi
    done
    say "no Python 3.11 or newer found: install one, or name it (PYTHON=/path/to/python scripts/$(basename "$0"))"
    return 1
}

make_venv() {
    local base
    if [ -x "$python" ] && "$python" -c '' 2>/dev/null; then
        if ! recent "$python"; then
            say "$root/.venv is older than Python 3.11: remove that folder and run this again"
            return 1
        fi
        if [ -n "${PYTHON:-}" ]; then
            say "$root/.venv exists: PYTHON is ignored (remove that folder to use another Python)"
        fi
        return
    fi
    base="$(find_python)" || return 1
    say "making $root/.venv with $("$base" --version 2>&1)"
    if ! "$base" -m venv --clear .venv; then # --clear: a folder whose interpreter is gone cannot be mended
        say "$base cannot make a virtual environment (Debian and Ubuntu: apt install python3-venv)"
        return 1
    fi
}

setup() { # [EXTRA]
    local stamp wanted what="${1:+[$1]}"
    make_venv || exit 1
    stamp="$root/.venv/.installed-${1:-core}"
    # An editable install holds the project's path: a checkout that moved is installed again.
    wanted="$(printf '%s\n' "$root" | cat - setup.cfg pyproject.toml |
        "$python" -c 'import hashlib, sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())')"
    if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then
        say "already installed: animepggan$what in .venv"
        return
    fi
    say "installing animepggan$what into .venv (the first time downloads torch)"
    if ! "$python" -m pip --version >/dev/null 2>&1; then
        "$python" -m ensurepip >&2
    fi
    rm -f "$stamp"
    "$python" -m pip install --disable-pip-version-check --editable ".$what" >&2
    printf '%s\n' "$wanted" >"$stamp"
}
