#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Sets everything up on a bare Debian 12, then runs every test, or the tox environments named.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
# shellcheck source=tools/setup-env.sh
. tools/setup-env.sh test
if [ $# -eq 0 ]; then
    set -- pep8 docs py3 functional e2e-ci
fi
exec .venv/bin/python -m tox run -e "$(IFS=,; echo "$*")" </dev/null
