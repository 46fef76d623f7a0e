#!/usr/bin/env bash
# Installs the system packages that are missing (as root on Debian or Ubuntu), or says what to type.
set -euo pipefail

python="${PYTHON:-python3.11}"
missing=()

have() { command -v "$1" > /dev/null 2>&1; }
need() { have "$1" || missing+=("$2"); }

need "$python" python3.11
"$python" -c 'import ensurepip, venv' > /dev/null 2>&1 || missing+=(python3.11-venv)
need mmdebstrap mmdebstrap     # the base image, where no registry answers
need gcc gcc                   # a test's custom op
need h2load nghttp2-client     # the load generator of the benchmark
have dockerd || docker info > /dev/null 2>&1 || missing+=(docker.io)

if [ "${#missing[@]}" -eq 0 ]; then
    exit 0
elif ! have apt-get; then
    echo "Missing, and to be installed with this system's own package manager: ${missing[*]}" >&2
    exit 1
elif [ "$(id -u)" -ne 0 ]; then
    echo "Missing: ${missing[*]}. Type:" >&2
    echo "    sudo apt-get update && sudo apt-get install --yes ${missing[*]}" >&2
    exit 1
fi
echo "Installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
apt-get update --quiet=2
apt-get install --quiet=2 --yes "${missing[@]}"
