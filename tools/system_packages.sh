#!/usr/bin/env bash
# Installs the system packages that are missing (as root on Debian or Ubuntu), or says what to type.
#
#   tools/system_packages.sh use       what the stopgap command needs: a Python, and an engine
#   tools/system_packages.sh develop   what its tests and benchmarks need: all engines, and their tools
#
# ENGINE=docker or ENGINE=bubblewrap insists on one; else whichever is there will do, and bubblewrap is the smaller.
set -euo pipefail

purpose="$1"
python="${PYTHON:-python3.11}"
missing=()

have() { command -v "$1" > /dev/null 2>&1; }
need() { have "$1" || missing+=("$2"); }
docker_answers() { have docker && docker info > /dev/null 2>&1; }

need "$python" python3.11
"$python" -c 'import ensurepip, venv' > /dev/null 2>&1 || missing+=(python3.11-venv)

if [ "$purpose" = develop ]; then
    need gcc gcc                   # a test's custom op
    need h2load nghttp2-client     # the load generator of the benchmark
    need podman podman
    need runsc runsc               # gVisor
    need chromium chromium         # tests open pages in it; its driver comes with playwright's wheel
    need strace strace             # a test records what a worker asks of the kernel
    need bwrap bubblewrap
    need mmdebstrap mmdebstrap     # the images' base, where no registry answers
    have dockerd || docker_answers || missing+=(docker.io)
elif [ "${ENGINE:-}" != bubblewrap ] && docker_answers; then
    need mmdebstrap mmdebstrap
elif [ "${ENGINE:-}" = docker ]; then
    have dockerd || missing+=(docker.io mmdebstrap)
else
    need bwrap bubblewrap
fi

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
