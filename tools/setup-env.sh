# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Sourced from the top of the checkout: installs what bindep.txt names and makes .venv. Writes to
# the checkout and the system's packages only.
#
#   . tools/setup-env.sh [PROFILE]...   all of bindep.txt, with these profiles of it, or exit
#   . tools/setup-env.sh --try-ceph     the same, but if that is not possible, without Ceph:
#                                       no_ceph then says in one line what is missing and why
#   . tools/setup-env.sh --no-ceph      no system packages at all

no_ceph=
_refusal=
_ceph=must
case "${1:-}" in
    --try-ceph) _ceph=may && shift ;;
    --no-ceph) _ceph=not && shift ;;
esac
# The registry of Python packages has no rados and rbd: they come with the system's interpreter.
_python=/usr/bin/python3
_venv_options=()
_pip=(.venv/bin/python -m pip)
_log=$PWD/.work/setup.log
# Packages of the user's own would otherwise stand in for the ones asked for here.
export PYTHONNOUSERSITE=1
unset PYTHONHOME PYTHONPATH VIRTUAL_ENV

_fail() {
    echo "$*" >&2
    exit 1
}

_logged() {
    if ! "$@" >>"$_log" 2>&1 </dev/null; then
        cat "$_log" >&2
        _fail "Set-up failed at: $*"
    fi
}

# Exit, or, where it is allowed, go on without Ceph.
_without_ceph() {
    no_ceph=$*
    [ "$_ceph" = may ] || _fail "Ceph is needed: $no_ceph"
}

_apt_install() {
    if [ -n "$_refusal" ]; then
        : # It was tried before.
    elif ! command -v apt-get >/dev/null; then
        _refusal="and there is no apt-get to install them:"
    elif [ "$(id -u)" -ne 0 ]; then
        _refusal="which only root can install: sudo apt-get install --no-install-recommends"
    elif _apt_get "$@"; then
        return
    else
        [ "$_ceph" = may ] || cat "$_log" >&2
        _refusal="and apt-get failed ($({ grep '^E: ' "$_log" || cat "$_log"; } | tail -n 1)):"
    fi
    _without_ceph "there are packages missing, $_refusal $*"
}

_apt_get() {
    echo "Installing system packages: $*"
    local get=(env DEBIAN_FRONTEND=noninteractive apt-get -q
        -o DPkg::Lock::Timeout=600 -o Acquire::Retries=3)
    "${get[@]}" update >>"$_log" 2>&1 </dev/null &&
        "${get[@]}" install -y --no-install-recommends "$@" >>"$_log" 2>&1 </dev/null
}

_bootstrap_packages() {
    local missing=()
    # python3 alone comes without ensurepip, and then `-m venv` fails.
    "$_python" -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3 python3-venv)
    command -v git >/dev/null || missing+=(git)
    [ ${#missing[@]} -eq 0 ] || _apt_install "${missing[@]}"
}

_is_recent() {
    command -v "$1" >/dev/null && "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))'
}

# Without Ceph, any interpreter will do that can make an environment, with its own pip or another's.
_find_python() {
    local name
    for name in "$_python" python3 python3.1{1,2,3,4}; do
        if _is_recent "$name" && "$name" -c 'import ensurepip, venv' 2>/dev/null; then
            _python=$name
            return
        fi
    done
    for name in "$_python" python3 python3.1{1,2,3,4}; do
        if _is_recent "$name" && "$name" -c 'import pip, venv' 2>/dev/null; then
            _python=$name
            _venv_options=(--without-pip)
            _pip=("$name" -m pip --python .venv/bin/python)
            return
        fi
    done
    _fail "rbdstore needs Python 3.11 or later with venv and pip (on Debian: python3-venv)."
}

_make_venv() {
    local stamp=.venv/.stamp want
    want=$(
        { echo "$PWD $_python" && "$_python" -V && cat bindep.txt pyproject.toml \
            requirements.txt setup.cfg setup.py tools/setup-env.sh; } | sha256sum
    )
    if [ -e "$stamp" ] && [ "$(cat "$stamp")" = "$want" ] && .venv/bin/python -c '' 2>/dev/null
    then
        return
    fi
    echo "Making .venv"
    _logged "$_python" -m venv --clear --system-site-packages "${_venv_options[@]}" .venv
    _logged "${_pip[@]}" install --quiet --no-cache-dir --disable-pip-version-check \
        'bindep>=2.14' 'tox>=4.11' --editable '.[test,cli]'
    echo "$want" >"$stamp"
}

_listed_packages() {
    local missing status=0
    missing=$(.venv/bin/python -m bindep --brief "$@" 2>>"$_log") ||
        status=$?
    if [ -n "$missing" ]; then
        # shellcheck disable=SC2086 # one word a package
        _apt_install $missing
    elif [ "$status" -ne 0 ]; then
        _without_ceph "bindep cannot tell which system packages are installed"
    fi
}

# Where packages have other names than Debian's, bindep.txt asks for none.
_look_for_ceph() {
    local found
    found=$(.venv/bin/python -c 'from rbdstore.testing import recipe
recipe.check_installed()
import rados, rbd' 2>&1) || _without_ceph "$(tail -n 1 <<<"$found" | sed 's/^[^ ]*Error: //')"
}

mkdir -p .work
# One set-up at a time in a checkout.
exec 9>.work/setup.lock
flock 9
: >"$_log"
[ "$_ceph" = not ] || _bootstrap_packages
if [ "$_ceph" = not ] || [ -n "$no_ceph" ]; then
    _find_python
elif ! _is_recent "$_python"; then
    _without_ceph "$_python is $("$_python" -V 2>&1), rbdstore needs 3.11 or later"
    _find_python
fi
# pbr asks git for the version: an unpacked tarball has no answer.
if [ -z "${PBR_VERSION:-}" ] && ! git rev-parse --verify --quiet HEAD >/dev/null 2>&1; then
    export PBR_VERSION=0.0.1.dev0
fi
_make_venv
if [ "$_ceph" != not ]; then
    _listed_packages "$@"
    [ -n "$no_ceph" ] || _look_for_ceph
fi
exec 9>&-
