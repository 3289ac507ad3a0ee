#!/bin/sh
# The way in: `./pm demo`, `./pm --help`, `./pm test`. The first start makes .venv from requirements.lock (hashes
# checked) and builds the native modules; later starts only compare two stamps. Needs nothing but a Linux machine.
#
#   ./pm COMMAND ...                              runs pm-pipeline COMMAND ...
#   ./pm test [--tier commit|gate|soak] [ARG...]  runs the test suite; other arguments go to pytest
#   ./pm test --mutants [--thorough] [ROW...]     plants each mistake of tests/mutants; its tests must fail
#
# PM_PYTHON=python3.12 chooses the interpreter of the first start.
# Exit 4: this machine lacks something; the line printed says what to run.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$(readlink -f -- "$0")")" && pwd -P)
venv=$root/.venv
log=$venv/install.log
python=$venv/bin/python

say() { printf 'pm: %s\n' "$*" >&2; }
fail() { code=$1; shift; say "$*"; exit "$code"; }

# --- what this machine has ---------------------------------------------------------------------------------------

# Prints what Python $1 lacks ("", "venv", "dev", "venv dev"); fails when it is no CPython 3.11 or newer.
lacks() {
    "$1" - 2>/dev/null <<'PYTHON'
import importlib.util, os, sys, sysconfig
if sys.version_info < (3, 11) or sys.implementation.name != "cpython":
    sys.exit(1)
has_venv = all(importlib.util.find_spec(name) for name in ("venv", "ensurepip"))
has_headers = os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h"))
print(*(["venv"] if not has_venv else []), *(["dev"] if not has_headers else []))
PYTHON
}

compiler_works() { printf 'int main(void) { return 0; }\n' | "$1" -x c -include stdlib.h -o /dev/null - 2>/dev/null; }

# Sets `base` (a Python that has all, or ""), and `packages` (Debian names of what is missing).
look() {
    base='' packages='' partial=''
    for name in ${PM_PYTHON:-python3.13 python3.12 python3.11 python3}; do
        found=$(command -v "$name") || continue
        missing=$(lacks "$found") || continue
        [ -n "$missing" ] || { base=$found; break; }
        [ -n "$partial" ] || partial="$name $missing"
    done
    if [ -z "$base" ] && [ -z "$partial" ]; then
        name=python3   # unless this release offers a newer one beside it
        for offer in python3.13 python3.12 python3.11; do
            ! apt-cache show "$offer-venv" >/dev/null 2>&1 || { name=$offer; break; }
        done
        packages=" $name $name-venv $name-dev"
    elif [ -z "$base" ]; then
        # shellcheck disable=SC2086  # "name lack lack" splits on purpose
        set -- $partial
        name=$1; shift
        for lack in "$@"; do packages="$packages $name-$lack"; done
    fi
    for name in "${CC:-cc}" gcc clang; do
        if command -v "$name" >/dev/null && compiler_works "$name"; then
            [ "$name" != clang ] || { CC=clang; export CC; }
            return 0
        fi
    done
    packages="$packages gcc libc6-dev"
}

apt() { DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 "$@" >/dev/null; }

install_packages() {
    apt update || say "apt-get update failed; going on with the package lists that are here"
    look   # the fresh lists may offer a newer Python
    say "installing$packages with apt (once)"
    # shellcheck disable=SC2086  # a list of package names
    apt install -y --no-install-recommends $packages ||
        fail 4 "apt could not install$packages; run: apt-get update && apt-get install -y$packages"
}

need_machine() {
    look
    [ -n "$packages" ] || return 0
    if command -v apt-get >/dev/null; then
        [ "$(id -u)" -eq 0 ] ||
            fail 4 "this machine lacks$packages; run: sudo apt-get update && sudo apt-get install -y$packages"
        install_packages
        look
    elif command -v dnf >/dev/null; then
        fail 4 "this machine lacks Python >= 3.11 with headers or a C compiler; run: sudo dnf install -y python3.12-devel gcc"
    elif command -v pacman >/dev/null; then
        fail 4 "this machine lacks Python >= 3.11 or a C compiler; run: sudo pacman -S --needed python gcc"
    fi
    [ -z "$packages" ] ||
        fail 4 "this machine lacks Python >= 3.11 with venv and headers, or a C compiler; install them (Debian 12:$packages)"
}

# --- what is installed -------------------------------------------------------------------------------------------

# A stamp names what it was made from; it is written last, so an interrupted install is simply not there.
stamp_dependencies() { { echo "$root"; cat "$root/requirements.lock"; } | sha256sum; }
stamp_project() { sha256sum <"$root/pyproject.toml"; }
stamp_native() {
    find "$root/pipeline" \( -name '*.pyx' -o -name '*.px[di]' -o -name '*.h' \) -print | LC_ALL=C sort |
        xargs cat -- | sha256sum
}
current() { [ "$(cat "$venv/stamp-$1" 2>/dev/null)" = "$(stamp_"$1")" ]; }
is_ready() { [ -x "$python" ] && current dependencies && current project && current native; }

# run WHAT COMMAND...: its output goes to the log; a failure shows the log's end and the way out.
run() {
    what=$1; shift
    "$@" >>"$log" 2>&1 </dev/null && return 0
    tail -n 5 "$log" >&2
    fail 4 "$what failed (all of it: $log); mend that and start again: nothing half installed is used"
}

# An editable install builds in a folder that it throws away; with the modules put where `build_ext` looks for its
# last result, a later change rebuilds what changed and not all.
keep_for_rebuild() {
    built=$("$python" -c 'import setuptools.dist as d; c = d.Distribution().get_command_obj("build")
c.ensure_finalized(); print(c.build_platlib)' 2>/dev/null) || return 0
    [ -n "$built" ] || return 0
    mkdir -p "$built"
    find pipeline -name '*.so' -exec cp -p --parents {} "$built" \; || true
}

install() {
    CFLAGS="${CFLAGS:-} -g0"; export CFLAGS   # debug symbols take a third of the build and nobody reads them here
    [ -w "$root" ] || fail 4 "$root is not writable; run ./pm from a copy that you own"
    if ! { [ -x "$python" ] && current dependencies; }; then
        need_machine
        say "making .venv with $("$base" --version) (once, about a minute)"
        rm -rf "$venv"
        mkdir "$venv"
        run "making .venv" "$base" -m venv "$venv"
        run "installing requirements.lock" "$python" -m pip install --disable-pip-version-check --no-input \
            --require-hashes -r "$root/requirements.lock"
        stamp_dependencies >"$venv/stamp-dependencies"
    fi
    cd "$root"
    if ! current project; then
        need_machine
        say "building the native modules and installing the project (once, about a minute)"
        printf '[build_ext]\nparallel = 2\n' >"$venv/build.cfg"
        DIST_EXTRA_CONFIG=$venv/build.cfg; export DIST_EXTRA_CONFIG
        run "installing the project" "$python" -m pip install --disable-pip-version-check --no-input \
            --no-build-isolation --no-deps --no-index -e .
        keep_for_rebuild
        stamp_native >"$venv/stamp-native"
        stamp_project >"$venv/stamp-project"
    elif ! current native; then
        need_machine
        say "building the native modules that changed"
        run "writing the native modules' C" "$python" pipeline/native/backend.py
        run "building the native modules" "$python" -c 'from setuptools import setup; setup()' -q build_ext --inplace
        stamp_native >"$venv/stamp-native"
    fi
}

if ! is_ready; then
    # One install at a time: the launcher itself is the lock file; who waited finds the work done.
    (
        if command -v flock >/dev/null; then flock 9; fi
        is_ready || install
    ) 9<"$root/pm"
fi

# --- what was asked ----------------------------------------------------------------------------------------------

if [ "${1:-}" != test ]; then
    exec "$venv/bin/pm-pipeline" "$@"
fi
shift
if [ "${1:-}" = --mutants ]; then
    shift
    cd "$root"
    exec "$python" -m tests.tools.mutants "$@"
fi
PM_TIER=${PM_TIER:-commit}
case ${1:-} in
    --tier) PM_TIER=${2:-}; shift; [ $# -eq 0 ] || shift ;;
    --tier=*) PM_TIER=${1#--tier=}; shift ;;
esac
case $PM_TIER in
    commit | gate | soak) export PM_TIER ;;
    *) fail 2 "--tier is commit, gate or soak, was \"$PM_TIER\"" ;;
esac
cd "$root"
# The whole commit tier runs in two workers, a file of tests at a time: what a file sets up is set up once.
# A worker that dies ends the session (xdist 3.8 never finishes after it replaced one), and so does one that is stuck
# in native code, where no test's own limit reaches it: then with every thread's stack.
if [ $# -eq 0 ] && [ "$PM_TIER" = commit ]; then
    set -- -n 2 --dist loadfile --no-loadscope-reorder --max-worker-restart 0 -o faulthandler_timeout=900 -o faulthandler_exit_on_timeout=true
fi
exec "$python" -m pytest "$@"
