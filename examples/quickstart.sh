#!/usr/bin/env bash
# From an empty machine to a session under a hard limit, on a filesystem in a file that is gone afterwards.
# As root, with loop devices and btrfs, the kernel enforces the limit; elsewhere the same runs on a plain directory, and
# what is left out is said. Set VFADM to use a program that is built already.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PATH="${PATH:-/usr/bin:/bin}:/usr/local/sbin:/usr/sbin:/sbin:${CARGO_HOME:-${HOME:-/root}/.cargo}/bin"

note() {
    printf '\n# %s\n' "$*"
}

# Shows a command as it is typed, then runs it: what follows is its real output.
run() {
    local shown
    printf -v shown ' %q' "$@"
    printf '$%s\n' "$shown"
    "$@"
}

work=$(mktemp -d)
mount_point=$work/vfroot
finish() {
    cd /
    if mountpoint -q "$mount_point" 2>/dev/null; then
        umount "$mount_point" || umount -l "$mount_point"
    fi
    # Folders belong to root or to this user; nothing outside the temporary directory is touched.
    rm -rf --one-file-system "$work"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

if [ -z "${VFADM:-}" ]; then
    note "build"
    run cargo build --release --locked
    VFADM=${CARGO_TARGET_DIR:-target}/release/vfadm
fi
PATH="$(cd "$(dirname "$VFADM")" && pwd):$PATH"

root_user=false
if [ "$(id -u)" -eq 0 ]; then
    root_user=true
fi

mkdir "$mount_point"
limits=false
left_out=""
if ! $root_user; then
    left_out="not root: no filesystem of its own, no limit, and 'session plan' instead of 'session run'"
else
    if ! command -v mkfs.btrfs >/dev/null; then
        note "install btrfs-progs"
        { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends btrfs-progs; } \
            </dev/null >&2 || true
    fi
    truncate -s 512M "$work/pool.img"
    if ! command -v mkfs.btrfs >/dev/null; then
        left_out="btrfs-progs could not be installed: no limit"
    elif ! mkfs.btrfs -q "$work/pool.img" >/dev/null; then
        left_out="mkfs.btrfs failed: no limit"
    elif ! why=$(mount -o loop "$work/pool.img" "$mount_point" 2>&1); then
        left_out="a btrfs image cannot be mounted here ($why): no limit"
    else
        limits=true
    fi
fi

export VFADM_ROOT="$mount_point"
note "a root, with one volume"
if $limits; then
    run vfadm init --volume "fast=$mount_point/fast" --quota btrfs
elif $root_user; then
    run vfadm init --volume "fast=$mount_point/fast" --quota none
else
    run vfadm init --uid "$(id -u)" --gid "$(id -g)" --volume "fast=$mount_point/fast" --quota none
fi

note "two users and a project"
run vfadm user add alice
run vfadm user add bob
run vfadm project add ml
run vfadm project add-member ml alice --role admin
run vfadm project add-member ml bob

if $limits; then
    note "a folder under a hard limit of 64 MiB"
    run vfadm vfolder create alice/data --quota-init 64MiB
else
    note "a folder"
    run vfadm vfolder create alice/data
fi
run vfadm vfolder create project/ml/sets --perm ro
run vfadm vfolder list

echo "hello from the storage host" >"$(vfadm vfolder path alice/data)/greeting"

note "a session that reads it"
if $root_user; then
    run vfadm session run --user alice -m data -- cat /home/work/data/greeting
else
    run vfadm session plan --user alice -m data
fi

if $limits; then
    note "a tenant writes past the limit: the kernel stops it"
    run vfadm session run --user alice -m data -- dd if=/dev/zero of=/home/work/data/big bs=1M count=96 status=none ||
        echo "(exit status $?)"
    run vfadm quota show alice

    note "more room, and the write goes on"
    run vfadm quota set alice 128MiB
    run vfadm session run --user alice -m data -- dd if=/dev/zero of=/home/work/data/big bs=1M count=96 status=none
fi
run vfadm quota show

note "into the trash, and back"
run vfadm vfolder delete alice/data
run vfadm vfolder restore alice/data
run vfadm registry check

note "clean up"
run vfadm vfolder delete alice/data --purge --yes
run vfadm vfolder delete project/ml/sets --purge --yes

if [ -n "$left_out" ]; then
    note "left out: $left_out"
fi
