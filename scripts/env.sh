# Sourced by the other scripts: sets ROOT and PY, an interpreter that has what requirements.txt lists.
# The active environment is used when it has it; otherwise .venv in the clone is made, once.
# PYTHON=… names the interpreter to start from; where .venv has another version of Python, .venv-3.12 (and so on) is made.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export PYTHONPATH="$ROOT${PYTHONPATH:+:$PYTHONPATH}"

find_python() {
    local candidate candidates=(python3 python python3.13 python3.12 python3.11 python3.10 python3.14)
    if [ -n "${PYTHON:-}" ]; then candidates=("$PYTHON"); fi
    for candidate in "${candidates[@]}"; do
        if command -v "$candidate" >/dev/null 2>&1 && "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    echo "error: no Python 3.10 or newer found (install one, or set PYTHON=/path/to/python)" >&2
    return 2
}

# Sets PY to the interpreter of an environment, there or not.
interpreter() {
    PY="$1/bin/python"
    [ -x "$PY" ] || [ ! -x "$1/Scripts/python.exe" ] || PY="$1/Scripts/python.exe"
}

version() { "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null | tr -d '\r'; }

# use_environment [REQUIREMENTS]: sets PY. Without an argument the ranges of setup.py are enough; with one, an environment is
# brought to exactly those versions.
use_environment() {
    local base file=${1:-requirements.txt} venv="$ROOT/.venv"
    base=$(find_python) || return 2
    if [ "$file" = requirements.txt ] && "$base" "$ROOT/scripts/check_env.py" >/dev/null 2>&1; then
        PY=$base
        return
    fi
    if [ "$file" != requirements.txt ] && "$base" "$ROOT/scripts/check_env.py" --exact "$ROOT/$file" >/dev/null 2>&1; then
        PY=$base
        return
    fi
    interpreter "$venv"
    # `venv` keeps the interpreter of an environment that is there, be it of another version or gone, and does not say so.
    if { [ -n "${PYTHON:-}" ] && [ -x "$PY" ] && [ "$(version "$PY")" != "$(version "$base")" ]; } ||
        { [ -L "$PY" ] && [ ! -e "$PY" ]; }; then
        venv="$ROOT/.venv-$(version "$base")"
        interpreter "$venv"
    fi
    if [ -x "$PY" ] && "$PY" "$ROOT/scripts/check_env.py" --exact "$ROOT/$file" >/dev/null 2>&1; then
        return
    fi
    echo "Making the environment $venv from $file (once, a few minutes) …"
    if ! "$base" -m venv "$venv"; then
        echo "error: $base cannot make a virtual environment (on Debian and Ubuntu: apt install python3-venv)" >&2
        return 2
    fi
    interpreter "$venv"
    if ! "$PY" -m pip install --disable-pip-version-check --quiet -r "$ROOT/$file"; then
        echo "error: pip could not install $file into $venv; see its message above, then run this again" >&2
        return 2
    fi
}
