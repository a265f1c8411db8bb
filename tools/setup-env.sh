# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Sourced from the top of the checkout, with bindep profiles as arguments: installs what
# bindep.txt names and makes .venv. Writes to the checkout and the system's packages only.

# The registry of Python packages has no rados and rbd: they come with the system's interpreter.
_python=/usr/bin/python3
_log=$PWD/.work/setup.log
# Packages of the user's own would otherwise stand in for the ones asked for here.
export PYTHONNOUSERSITE=1
unset PYTHONHOME PYTHONPATH VIRTUAL_ENV

_logged() {
    if ! "$@" >>"$_log" 2>&1 </dev/null; then
        cat "$_log" >&2
        echo "Set-up failed at: $*" >&2
        exit 1
    fi
}

_apt_install() {
    if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
        echo "Missing system packages; on Debian:" \
            "sudo apt-get install --no-install-recommends $*" >&2
        exit 1
    fi
    echo "Installing system packages: $*"
    local options=(-q -o DPkg::Lock::Timeout=600 -o Acquire::Retries=3)
    _logged env DEBIAN_FRONTEND=noninteractive apt-get "${options[@]}" update
    _logged env DEBIAN_FRONTEND=noninteractive apt-get "${options[@]}" install -y \
        --no-install-recommends "$@"
}

_bootstrap_packages() {
    local missing=()
    # python3 alone comes without ensurepip, and then `-m venv` fails.
    "$_python" -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3 python3-venv)
    command -v git >/dev/null || missing+=(git)
    [ ${#missing[@]} -eq 0 ] || _apt_install "${missing[@]}"
    if ! "$_python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
        echo "$_python is $("$_python" -V); rbdstore needs 3.11 or later." >&2
        exit 1
    fi
}

_make_venv() {
    local stamp=.venv/.stamp want
    want=$(
        { echo "$PWD" && "$_python" -V && cat bindep.txt pyproject.toml requirements.txt \
            setup.cfg setup.py tools/setup-env.sh; } | sha256sum
    )
    if [ -e "$stamp" ] && [ "$(cat "$stamp")" = "$want" ] && .venv/bin/python -c '' 2>/dev/null
    then
        return
    fi
    echo "Making .venv"
    _logged "$_python" -m venv --clear --system-site-packages .venv
    _logged .venv/bin/python -m pip install --quiet --no-cache-dir --disable-pip-version-check \
        'bindep>=2.14' 'tox>=4.11' --editable '.[test,examples]'
    echo "$want" >"$stamp"
}

_listed_packages() {
    local missing status=0
    missing=$(.venv/bin/python -m bindep --brief "$@") ||
        status=$?
    if [ -n "$missing" ]; then
        # shellcheck disable=SC2086 # one word a package
        _apt_install $missing
    elif [ "$status" -ne 0 ]; then
        echo "bindep could not read bindep.txt" >&2
        exit 1
    fi
}

mkdir -p .work
# One set-up at a time in a checkout.
exec 9>.work/setup.lock
flock 9
: >"$_log"
_bootstrap_packages
# pbr asks git for the version: an unpacked tarball has no answer.
if [ -z "${PBR_VERSION:-}" ] && ! git rev-parse --verify --quiet HEAD >/dev/null 2>&1; then
    export PBR_VERSION=0.0.1.dev0
fi
_make_venv
_listed_packages "$@"
exec 9>&-
