#!/bin/sh
# Recompiles all pinned requirement files from their .in files, with .venv's uv. Pins stay as they are unless
# `--upgrade` (or `--upgrade-package NAME`) is passed on.
set -eu
cd "$(dirname -- "$0")/.."

compile() { # compile NAME [options]: NAME.in -> NAME.txt
    name=$1
    shift
    echo "$name.txt"
    # Universal, from 3.11 up: one file serves every supported interpreter and platform. No header: it would hold
    # the command line with every option.
    .venv/bin/python -m uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
        "$name.in" --output-file "$name.txt" "$@"
}

names() { # the packages that a pinned file holds, each behind --no-emit-package
    sed -n 's/^\([A-Za-z0-9._-]*\)==.*/--no-emit-package \1/p' "$1" | sort -u
}

compile requirements/dev "$@"
compile requirements/sam "$@"
# Everything else follows dev's versions, so that the tests ran with what is deployed.
follow="-c requirements/dev.txt"
compile requirements/uv $follow
# What Lambda's own image brings to run a Python function.
compile requirements/runtime $follow
# Those that `make bench` compares with, beside what they are compared with.
compile requirements/bench $follow
# What runs offline alone, on top of all that tests and functions have.
compile requirements/lab $follow --overrides requirements/lab-overrides.txt
# Open Bandit Pipeline needs versions of its time: it follows nothing, and is itself in requirements/obp-source.txt.
compile requirements/obp "$@"
# The LiteLLM proxy pins much of what it needs, so it follows dev in LiteLLM alone.
grep '^litellm==' requirements/dev.txt | cut -d ' ' -f 1 | compile requirements/proxy -c - "$@"
compile layers/shared/requirements $follow

# A function never carries what the layer has.
in_layer=$(names layers/shared/requirements.txt)
# anyio asks for idna where it looks a host's name up, which no function lets it do.
compile functions/score/requirements $follow $in_layer --no-emit-package idna
compile functions/consume/requirements $follow $in_layer
# A process of its own, with the layer's packages beside it.
compile bridge/requirements $follow

# LiteLLM requires these but does not import them for what the gateway asks of it; they are 45 MB.
# scripts/check_generate.py makes every such call without them. A Bedrock model called directly needs no boto3: Lambda
# sets the role's credentials in the environment, where LiteLLM reads them, and botocore signs.
unused=
for package in boto3 s3transfer \
    tokenizers huggingface-hub hf-xet fsspec filelock tqdm regex \
    jsonschema jsonschema-specifications referencing rpds-py; do
    unused="$unused --no-emit-package $package"
done
compile functions/generate/requirements $follow $in_layer $unused
