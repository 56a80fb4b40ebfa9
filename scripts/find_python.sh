#!/bin/sh
# Prints the path of a Python interpreter that works here.
#
#   scripts/find_python.sh         one that can make an environment: 3.13 first (the runtime in the cloud), else 3.11+
#   scripts/find_python.sh 3.12    one of exactly that minor version; prints nothing and fails when there is none
#
# PYTHON_BIN forces the choice of the first form. Every candidate is run, because a pyenv shim can be on PATH and still fail.
set -u

# A virtual environment's python answers with the interpreter it was made from: .venv is never built out of itself.
probe='import sys
wanted = sys.argv[1]
if wanted:
    assert wanted == "%d.%d" % sys.version_info[:2]
else:
    assert sys.version_info >= (3, 11)
    import ensurepip, venv
print(sys._base_executable)'

works() {
    [ -n "$1" ] && "$1" -c "$probe" "$2" 2>/dev/null
}

candidates_of() {
    command -v "python$1"
    ls -d "${PYENV_ROOT:-${HOME:-}/.pyenv}/versions/$1".*/bin/"python$1" 2>/dev/null
}

if [ $# -eq 0 ] && [ -n "${PYTHON_BIN:-}" ]; then
    works "$PYTHON_BIN" "" && exit 0
    echo "PYTHON_BIN=$PYTHON_BIN does not run, is older than 3.11, or has no venv and ensurepip." >&2
    exit 1
fi

# The versions the tests run on come before a newer one that nobody here has tried.
for minor in ${1:-3.13 3.12 3.11 3.14}; do
    for candidate in $(candidates_of "$minor"); do
        works "$candidate" "${1:-}" && exit 0
    done
done
works python3 "${1:-}" && exit 0
[ $# -gt 0 ] && exit 1

cat >&2 <<'MESSAGE'
No usable Python found: 3.11 or newer is needed, with the modules venv and ensurepip.
  Debian, Ubuntu:  apt-get install python3 python3-venv
  anywhere else:   python.org, pyenv or your package manager
An interpreter in an unusual place can be named: make test PYTHON_BIN=/path/to/python3
MESSAGE
exit 1
