#!/usr/bin/env bash
# What measuring costs: `vfadm vfolder usage --walk` of 100,000 small files, warm, against `du -s`, `diskus` and `pdu`, in
# turn, on XFS and ext4; from the storage's own accounting on btrfs; and the memory that 1,000,000 files with two names each
# take. Needs root, what tests/run installs, and the peers: cargo install diskus parallel-disk-usage. Figures go to stdout,
# with exit 1 where one misses its mark.
#   PAIRS=5 FILES=100000 MANY=1000000 benches/usage.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PATH="${PATH:-/usr/bin:/bin}:/usr/local/sbin:/usr/sbin:/sbin:${CARGO_HOME:-${HOME:-/root}/.cargo}/bin"
export LC_ALL=C
pairs=${PAIRS:-5} files=${FILES:-100000} many=${MANY:-1000000}

if [ "$(id -u)" -ne 0 ]; then
    echo "benches/usage.sh: needs root" >&2
    exit 1
fi
for peer in diskus pdu; do
    if ! command -v "$peer" >/dev/null; then
        echo "benches/usage.sh: $peer is missing: cargo install diskus parallel-disk-usage" >&2
        exit 1
    fi
done

# In memory: the programs are measured, not the disk.
mkdir -p /dev/shm/usage
work=$(mktemp -d -p /dev/shm/usage vfadm-bench-XXXXXX)
# shellcheck disable=SC2317  # called by the trap
finish() {
    for name in xfs ext4 btrfs many; do
        umount "$work/$name" 2>/dev/null || true
    done
    rm -rf --one-file-system "$work"
    rmdir /dev/shm/usage 2>/dev/null || true
}
trap finish EXIT
trap 'exit 130' INT TERM

cargo build --release --locked --quiet
vfadm=$(cd "${CARGO_TARGET_DIR:-target}/release" && pwd)/vfadm
# shellcheck source=benches/lib.sh
. benches/lib.sh

volume() { # NAME KIND
    truncate -s 8G "$work/$1.img"
    "mkfs.$2" -q "$work/$1.img" >/dev/null 2>&1
    mkdir "$work/$1"
    mount -o loop "$work/$1.img" "$work/$1"
    mkdir "$work/$1/volume"
}
fill() { # DIRECTORY FILES NAMES
    python3 - "$@" <<'END'
import os, sys
top, files, names = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
for n in range(files):
    at = [f"{top}/{name}-{n // 1000}" for name in range(names)]
    if n % 1000 == 0:
        for directory in at:
            os.mkdir(directory)
    with open(f"{at[0]}/f{n}", "w") as file:
        file.write(f"{n}\n")
    for directory in at[1:]:
        os.link(f"{at[0]}/f{n}", f"{directory}/f{n}")
END
}
row() { # WORK OURS PEER RATIO AT-MOST
    local verdict=ok
    if [ "$(below "$4" "$5")" -eq 0 ]; then
        verdict=over failed=1
    fi
    printf '%-44s %12s %12s %8s %8s  %s\n' "$1" "$2" "$3" "$4" "$5" "$verdict"
}

export VFADM_ROOT=$work/root
volume xfs xfs
"$vfadm" init --volume "xfs=$work/xfs/volume" --quota none >/dev/null
volume ext4 ext4
"$vfadm" volume add ext4 "$work/ext4/volume" --quota none >/dev/null
"$vfadm" user add alice >/dev/null
printf '%-44s %12s %12s %8s %8s\n' "usage of $files files" ours peer ratio "at most"
for kind in xfs ext4; do
    "$vfadm" vfolder create "alice/$kind" --volume "$kind" >/dev/null
    path=$("$vfadm" vfolder path "alice/$kind")
    fill "$path" "$files" 1
    sync -f "$path"
    du -s "$path" >/dev/null
    rm -f "$work"/took-*
    for _ in $(seq "$pairs"); do
        took "$vfadm" vfolder usage "alice/$kind" --walk >>"$work/took-ours"
        took du -s "$path" >>"$work/took-du"
        took diskus "$path" >>"$work/took-diskus"
        took pdu "$path" >>"$work/took-pdu"
    done
    ours=$(median <"$work/took-ours")
    fastest='' best=''
    for peer in diskus pdu; do
        figure=$(median <"$work/took-$peer")
        if [ -z "$best" ] || [ "$figure" -lt "$best" ]; then
            fastest=$peer best=$figure
        fi
    done
    peer=$(median <"$work/took-du")
    row "$kind, against du -s" "$(ms "$ours")" "$(ms "$peer")" "$(ratio "$ours" "$peer")" 0.65
    row "$kind, against $fastest" "$(ms "$ours")" "$(ms "$best")" "$(ratio "$ours" "$best")" 1.00
done

volume btrfs btrfs
"$vfadm" volume add btrfs "$work/btrfs" --quota btrfs --yes >/dev/null
"$vfadm" vfolder create alice/accounted --volume btrfs >/dev/null
path=$("$vfadm" vfolder path alice/accounted)
fill "$path" "$files" 1
sync -f "$path"
rm -f "$work"/took-*
for _ in $(seq "$pairs"); do
    took "$vfadm" vfolder usage alice/accounted >>"$work/took-ours"
    took du -s "$path" >>"$work/took-du"
done
ours=$(median <"$work/took-ours") peer=$(median <"$work/took-du")
row "btrfs, its accounting against du -s" "$(ms "$ours")" "$(ms "$peer")" "$(ratio "$ours" "$peer")" 0.65

volume many xfs
"$vfadm" volume add many "$work/many/volume" --quota none >/dev/null
"$vfadm" vfolder create alice/many --volume many >/dev/null
path=$("$vfadm" vfolder path alice/many)
fill "$path" "$many" 2
memory() { # COMMAND...: MiB of its largest process
    python3 -c 'import resource, subprocess, sys
subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024)' "$@"
}
ours=$(memory "$vfadm" vfolder usage alice/many --walk) peer=$(memory du -s "$path")
row "MiB for $many files of two names, du" "$ours" "$peer" "$(ratio "$ours" "$peer")" "$(ratio 64 "$peer")"
exit "$failed"
