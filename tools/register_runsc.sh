#!/usr/bin/env bash
# Registers gVisor's runsc with this machine's Docker, as root, where that is there and not done yet; what the engine's
# daemon.json says already stays. `stopgap doctor` names the same command.
set -euo pipefail

config=/etc/docker/daemon.json
arguments=(--network=none --host-uds=all --oci-seccomp)

if [ "$(id -u)" -ne 0 ] || ! command -v runsc > /dev/null || ! command -v dockerd > /dev/null; then
    exit 0
fi
if [ -f "$config" ] && grep --quiet -- --oci-seccomp "$config"; then
    exit 0
fi
mkdir -p "${config%/*}"
runsc install -- "${arguments[@]}" 2> /dev/null
echo "Registered runsc in $config"
! pid="$(pidof dockerd)" || kill -HUP "$pid"
