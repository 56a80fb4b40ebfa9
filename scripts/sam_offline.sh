#!/bin/sh
# Runs the SAM command line of .venv-sam for what needs no cloud (build, validate): no telemetry, no version check, no
# credentials looked for. To deploy, use a sam of your own with your own credentials.
set -eu
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)

# SAM asks the package index for a newer release unless its metadata says that it did so lately.
home=$root/.venv-sam/sam-home
mkdir -p "$home"
printf '{"lastVersionCheck": %s.0}\n' "$(date +%s)" >"$home/metadata.json"

PATH=$root/.venv/bin:$PATH # the build scripts need python3 and uv
export PATH SAM_CLI_TELEMETRY=0 AWS_EC2_METADATA_DISABLED=true AWS_DEFAULT_REGION="${AWS_DEFAULT_REGION:-eu-west-1}"
exec env __SAM_CLI_APP_DIR="$home" "$root/.venv-sam/bin/python" -m samcli "$@"
