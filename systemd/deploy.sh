#!/bin/sh
# Installs this checkout as a service: user, code, Python environment, configuration, units. Run it again to upgrade.
#
#   sudo systemd/deploy.sh          installs pm-pipeline.service; edit /etc/pm-pipeline/pipeline.toml, then start it
#   sudo systemd/deploy.sh --demo   also the local exchange as pm-exchange.service, and the demo's configuration
#
# Starts, stops and overwrites nothing: a running pipeline keeps its code until `systemctl restart pm-pipeline`, and a
# file that is in /etc/pm-pipeline stays as it is. Each version has its own folder, so a lane that is restarted in the
# middle of an upgrade still is of the build of its run.
# Exit 2: wrong argument. 4: this machine lacks something; the line printed says what.
set -eu
umask 022

source=$(CDPATH='' cd -- "$(dirname -- "$(readlink -f -- "$0")")/.." && pwd -P)
home=/opt/pm-pipeline
config=/etc/pm-pipeline
units=/etc/systemd/system
user=pm-pipeline
versions_kept=3
is_demo=no

say() { printf 'deploy: %s\n' "$*"; }
fail() { code=$1; shift; printf 'deploy: %s\n' "$*" >&2; exit "$code"; }

for argument in "$@"; do
    case $argument in
        --demo) is_demo=yes ;;
        *) fail 2 "no argument or --demo expected, was \"$argument\"" ;;
    esac
done
[ "$(id -u)" -eq 0 ] || fail 4 "must run as root; run: sudo $0 $*"
[ -d /run/systemd/system ] || fail 4 "this machine has no systemd; start pm run by what it has instead"

# --- user --------------------------------------------------------------------------------------------------------

# A system user: it cannot log in, and logind leaves its shared memory alone.
if ! id "$user" >/dev/null 2>&1; then
    useradd --system --user-group --home-dir /var/lib/pm-pipeline --no-create-home --shell /usr/sbin/nologin "$user"
    say "made the system user $user"
fi

# --- code and environment ----------------------------------------------------------------------------------------

# What runs, without what was built here; in one order and without times, so that the same code has the same name.
pack() {
    tar -C "$source" --sort=name --mtime=2000-01-01 --owner=0 --group=0 --numeric-owner --mode=u=rwX,go=rX \
        --exclude='__pycache__' --exclude='*.so' --exclude='*.egg-info' --exclude='pipeline/*/*.c' \
        -cf - pm pyproject.toml requirements.lock README.md CHANGELOG.md LICENSE config pipeline systemd
}

version=$(pack | sha256sum | cut -c 1-12)
place=$home/$version
mkdir -p "$home"
if [ ! -e "$place/pm" ]; then
    rm -rf "$place.partial"
    mkdir "$place.partial"
    pack | tar -C "$place.partial" -xf -
    mv "$place.partial" "$place"
fi
say "code: $place"
# The same steps as ./pm takes anywhere: Debian packages where they lack, .venv from requirements.lock with its hashes
# checked, native modules built; nothing when all of it is there.
"$place/pm" --version
"$place/.venv/bin/python" -m compileall -q "$place/pipeline"   # the service's user may not write here
ln -sfn "$version" "$home/current.partial"
mv -T "$home/current.partial" "$home/current"

# The newest versions stay for a way back: ln -sfn VERSION /opt/pm-pipeline/current, then restart.
touch "$place"
# shellcheck disable=SC2012  # names are ours: twelve letters and digits
ls -1dt "$home"/[0-9a-f]* | tail -n +$((versions_kept + 1)) | while read -r old; do
    ! pgrep -u "$user" -f "$old/" >/dev/null || continue   # somebody still runs it
    rm -rf "$old"
    say "removed the old version $old"
done

# --- configuration -----------------------------------------------------------------------------------------------

install -d -m 0700 -o "$user" -g "$user" /var/lib/pm-pipeline   # so that a halt can stand before the first start
install -d -m 0750 -o root -g "$user" "$config"
install -d -m 0700 -o "$user" -g "$user" "$config/secrets"

# put NAME <CONTENT: never over a file that is there.
put() {
    [ ! -e "$config/$1" ] || { say "kept $config/$1"; return 0; }
    cat >"$config/$1.partial"
    chgrp "$user" "$config/$1.partial"
    chmod 0640 "$config/$1.partial"
    mv "$config/$1.partial" "$config/$1"
    say "wrote $config/$1"
}

template=paper options=''
[ "$is_demo" = no ] || { template=demo options='--config /var/lib/pm-exchange/pipeline.toml'; }
put pipeline.toml <<TOML
$(cat "$place/config/$template.toml")

[metrics]
port = 9464 # fixed, so that Prometheus can be told
TOML
put service.env <<ENV
# Options of pm run for pm-pipeline.service, such as --topology 4core or a second --config FILE.
PM_OPTIONS=$options
ENV

# --- command and units -------------------------------------------------------------------------------------------

# `pm` of a machine with the service: as its user, about its state, whoever asks; root may, others need sudo.
cat >/usr/local/bin/pm.partial <<'PM'
#!/bin/sh
# Made by deploy.sh: runs the service's `pm` as the service's user, so that no file of its state is another's.
PM_STATE=${PM_STATE:-/var/lib/pm-pipeline/state}
export PM_STATE
if [ "$(id -u)" -eq 0 ]; then
    exec setpriv --reuid pm-pipeline --regid pm-pipeline --init-groups -- \
        /opt/pm-pipeline/current/.venv/bin/pm-pipeline "$@"
fi
exec /opt/pm-pipeline/current/.venv/bin/pm-pipeline "$@"
PM
chmod 0755 /usr/local/bin/pm.partial
mv /usr/local/bin/pm.partial /usr/local/bin/pm

install -m 0644 "$place/systemd/pm-pipeline.service" "$units/pm-pipeline.service"
if [ "$is_demo" = yes ]; then
    install -m 0644 "$place/systemd/pm-exchange.service" "$units/pm-exchange.service"
    install -d "$units/pm-pipeline.service.d"
    install -m 0644 "$place/systemd/pm-pipeline-demo.conf" "$units/pm-pipeline.service.d/demo.conf"
fi
systemctl daemon-reload

if systemctl is-active --quiet pm-pipeline; then
    say "installed; the running pipeline is still the old one: systemctl restart pm-pipeline"
elif [ "$is_demo" = yes ]; then
    say "installed; start it: systemctl enable --now pm-pipeline"
else
    say "installed; edit $config/pipeline.toml, then: systemctl enable --now pm-pipeline"
fi
