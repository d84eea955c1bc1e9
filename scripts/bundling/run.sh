#!/bin/sh
# Runs a command with the packages and the sources of this bundle. Needs coreutils and a Python with pip; no network.
set -eu

fail() {
    printf 'error: %s\n' "$1" >&2
    exit 1
}

if [ $# -eq 0 ]; then
    cat >&2 <<'USAGE'
usage: sh run.sh COMMAND...
  The first time, checks the files of this bundle and installs its wheels into the folder `site` beside this file.
  PYTHON=/path/to/python3    the Python to use, also for a command that begins with python; python3 if not set
  BUNDLE_SITE=/path/to/folder    where to install instead
Example: sh run.sh python -m train --help
USAGE
    exit 2
fi

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd -P)
python=${PYTHON:-python3}
parent=${BUNDLE_SITE:-$here/site}
case $parent in /*) ;; *) parent=$PWD/$parent ;; esac
case $here$parent in
    *:*) fail "$here, $parent: a search path cannot hold a colon; move the bundle, or name another BUNDLE_SITE" ;;
esac
command -v -- "$python" >/dev/null 2>&1 || fail "$python: not found; name a Python: PYTHON=/path/to/python3 sh run.sh ..."

# The folder's name says which bundle it was made from, and it gets that name when it is whole: another bundle in this
# place installs anew, an interrupted install never counts, and of two at once the later finds the other's.
site=$parent/$(sha256sum <"$here/SHA256SUMS" | cut -c 1-16)

install_wheels() {
    printf 'installing what this bundle carries into %s\n' "$site" >&2
    (cd -- "$here" && sha256sum -c --quiet SHA256SUMS >&2) ||
        fail "$here: files are not as they were when the bundle was made; copy it again"
    "$python" "$here/check_target.py" packages || exit 1
    { mkdir -p -- "$parent" && temporary=$(mktemp -d "$parent/.installing-XXXXXX"); } 2>/dev/null ||
        fail "$parent: cannot be written; name a folder that can: BUNDLE_SITE=/path/to/folder sh run.sh ..."
    trap 'rm -rf -- "$temporary"' EXIT
    trap 'exit 129' HUP
    trap 'exit 130' INT
    trap 'exit 143' TERM
    mkdir -- "$temporary/site"
    set -- "$here"/wheels/*.whl
    if [ -e "$1" ]; then
        # Neither settings nor an index of this machine's pip may change what is installed.
        PIP_CONFIG_FILE=/dev/null "$python" -m pip --isolated --disable-pip-version-check --no-input install --quiet \
            --no-index --no-deps --no-warn-script-location --target "$temporary/site" "$@" >&2 ||
            fail "pip could not install the wheels of this bundle into $parent"
    fi
    mv -T -- "$temporary/site" "$site" 2>/dev/null || [ -d "$site" ] ||
        fail "$site: cannot be written; name a folder that can: BUNDLE_SITE=/path/to/folder sh run.sh ..."
    rm -rf -- "$temporary"
    trap - EXIT HUP INT TERM
}

if [ -d "$site" ]; then
    "$python" -I "$here/check_target.py" || exit 1
else
    install_wheels
fi

project=$PWD
if [ -d "$here/project" ]; then project=$here/project; fi
PYTHONPATH=$project:$site${PYTHONPATH:+:$PYTHONPATH}
PATH=$site/bin:$PATH
# albumentations asks an index for its newest version otherwise.
NO_ALBUMENTATIONS_UPDATE=1
export PYTHONPATH PATH NO_ALBUMENTATIONS_UPDATE

case $1 in
    python | python3)
        shift
        exec "$python" "$@"
        ;;
esac
exec "$@"
