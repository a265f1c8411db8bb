#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Sets everything up on a bare Debian 12, then runs the main job on a real Ceph cluster.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
# shellcheck source=tools/setup-env.sh
. tools/setup-env.sh
exec .venv/bin/python examples/main_job.py "$@"
