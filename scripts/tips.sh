#!/bin/sh
# The command line `tips` of this repository; `make env` puts it into .venv/bin, and it finds the rest from there.
bin=$(dirname -- "$(readlink -f -- "$0")")
root=$bin/../..
PYTHONPATH=$root/layers/shared:$root${PYTHONPATH:+:$PYTHONPATH}
export PYTHONPATH
# -P: a folder called offline or tips in the current directory is not ours.
exec "$bin/python" -P -m offline.cli "$@"
