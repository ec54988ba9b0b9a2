#!/usr/bin/env bash
# What the labs of appliances share: a filesystem in a file, the stand-in for the appliance's commands (tests/standins),
# and a driver file made from the example (examples/drivers).
#   tests/labs/standin.sh KIND up DIR      mounted at DIR/mnt, commands in DIR/bin, DIR/driver.yaml
#   tests/labs/standin.sh KIND down DIR    takes it down, also half-made; can be called twice
# KIND is weka, lustre, storage-scale or netapp-ontap. Needs: btrfs-progs python3 curl
set -euo pipefail
PATH=/usr/sbin:/usr/bin:/sbin:/bin

usage() {
    echo "usage: $(basename "$0") weka|lustre|storage-scale|netapp-ontap up|down DIR" >&2
    exit 2
}
[ $# -eq 3 ] || usage
tests=$(realpath "$(dirname "${BASH_SOURCE[0]}")/..")
drivers=$(realpath "$tests/../examples/drivers")
kind=$1
mkdir -p "$3"
dir=$(realpath "$3")

up() {
    # A lab that was left half-made is made anew.
    ! whole || return 0
    down
    mkdir -p "$dir/mnt" "$dir/bin"
    truncate -s 1G "$dir/standin.img"
    mkfs.btrfs -q -f -m single "$dir/standin.img" >/dev/null
    mount -o loop "$dir/standin.img" "$dir/mnt"
    btrfs quota enable "$dir/mnt"
    btrfs quota rescan -w "$dir/mnt" >/dev/null
    cp "$tests/standins/appliance.py" "$dir/bin"
    "up_$kind"
}

whole() {
    mountpoint -q "$dir/mnt" && [ -e "$dir/driver.yaml" ] && { [ "$kind" != netapp-ontap ] || [ -n "$(daemon)" ]; }
}

# Makes DIR/driver.yaml, or a copy of another file beside it, by sed.
adapt() { # EXAMPLE COPY SED-OPTION...
    local from=$drivers/$1 to=$2
    shift 2
    sed "$@" "$from" >"$to.new"
    chmod --reference="$from" "$to.new"
    mv "$to.new" "$to"
}

up_weka() {
    cp "$tests/standins/weka" "$dir/bin"
    adapt weka.yaml "$dir/driver.yaml" -e "s|\[weka,|[$dir/bin/weka,|"
}

up_lustre() {
    cp "$tests/standins/lfs" "$dir/bin"
    adapt lustre.yaml "$dir/driver.yaml" -e "s|\[lfs,|[$dir/bin/lfs,|"
}

up_storage-scale() {
    local command
    cp "$tests/standins/gpfs" "$dir/bin"
    for command in mmcrfileset mmlinkfileset mmlsfileset mmunlinkfileset mmdelfileset mmsetquota mmrepquota; do
        ln -sf gpfs "$dir/bin/$command"
    done
    adapt storage-scale "$dir/bin/storage-scale" -e "s|/usr/lpp/mmfs/bin|$dir/bin|"
    adapt storage-scale.yaml "$dir/driver.yaml" \
        -e "s|/usr/lpp/mmfs/bin|$dir/bin|" -e "s|/usr/local/lib/vfadm|$dir/bin|"
}

up_netapp-ontap() {
    local address
    cp "$tests/standins/ontapd" "$tests/standins/ontap.py" "$drivers/netapp-ontap" "$dir/bin"
    rm -f "$dir/ontapd.address"
    printf 'stand-in\n' >"$dir/ontapd.password"
    # The daemon keeps neither the caller's pipes nor its terminal.
    setsid "$dir/bin/ontapd" "$dir/ontapd.password" </dev/null >"$dir/ontapd.log" 2>&1 &
    echo $! >"$dir/ontapd.pid"
    for _ in $(seq 100); do
        [ ! -e "$dir/ontapd.address" ] || break
        sleep 0.1
    done
    address=$(cat "$dir/ontapd.address") || {
        cat "$dir/ontapd.log" >&2
        exit 1
    }
    printf 'url=http://%s\nsvm=svm1\nnetrc=%s\n' "$address" "$dir/netapp-ontap.netrc" >"$dir/netapp-ontap.conf"
    install -m 600 /dev/null "$dir/netapp-ontap.netrc"
    printf 'machine %s login vfadm password stand-in\n' "${address%:*}" >"$dir/netapp-ontap.netrc"
    adapt netapp-ontap.yaml "$dir/driver.yaml" \
        -e "s|/usr/local/lib/vfadm|$dir/bin|" -e "s|/etc/vfadm/netapp-ontap.conf|$dir/netapp-ontap.conf|"
}

# The number of ontapd's process, where it runs.
daemon() {
    local pid
    pid=$(cat "$dir/ontapd.pid" 2>/dev/null) || return 0
    # The number may be another's by now.
    if tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline" | grep -qF "$dir/bin/ontapd"; then
        echo "$pid"
    fi
}

down() {
    local pid
    pid=$(daemon)
    if [ -n "$pid" ]; then
        kill "$pid" 2>/dev/null || true
        for _ in $(seq 50); do
            [ -n "$(daemon)" ] || break
            sleep 0.1
        done
    fi
    while mountpoint -q "$dir/mnt"; do
        umount "$dir/mnt" 2>/dev/null || umount -l "$dir/mnt"
    done
    rm -rf "${dir:?}"/{bin,standin.img,driver.yaml,driver.yaml.new,state.json,state.new,state.lock}
    rm -f "$dir"/ontapd.* "$dir"/netapp-ontap.*
}

case $kind in
    weka | lustre | storage-scale | netapp-ontap) ;;
    *) usage ;;
esac
case $2 in
    up) up ;;
    down) down ;;
    *) usage ;;
esac
