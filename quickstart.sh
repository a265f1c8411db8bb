#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Sets everything up on a bare Debian 12, then runs the main job on a real Ceph cluster; where Ceph
# cannot be installed, on the embedded driver. `--driver file` or `--driver rbd` decides that.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
driver=
job=()
while [ $# -gt 0 ]; do
    case $1 in
        --driver=*) driver=${1#*=} ;;
        --driver) driver=${2:-none} && shift ;;
        *) job+=("$1") ;;
    esac
    [ $# -eq 0 ] || shift
done
case $driver in
    '') set -- --try-ceph ;;
    file) set -- --no-ceph ;;
    rbd) ;;
    *) echo "There are --driver rbd and --driver file." >&2 && exit 2 ;;
esac
# shellcheck source=tools/setup-env.sh
. tools/setup-env.sh "$@"
if [ -n "$no_ceph" ]; then
    echo "No Ceph, so the same job on the embedded driver: $no_ceph"
    driver=file
fi
exec .venv/bin/python examples/main_job.py --driver "${driver:-rbd}" "${job[@]}"
