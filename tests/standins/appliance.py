"""What the stand-ins share: the filesystem at DIR/mnt, and what the appliance remembers, in DIR/state.json.

They are installed in DIR/bin and find DIR from there, because vfadm runs commands with an empty environment. The
filesystem is btrfs with qgroups: a directory with a limit is a subvolume, so that it is the kernel that stops writers.
"""

import contextlib
import fcntl
import json
import os
import shutil
import stat
import struct
import subprocess
import sys
from pathlib import Path

DIR = Path(__file__).resolve().parent.parent
MNT = DIR / "mnt"

# The inode of each subvolume's root, and BTRFS_IOC_INO_LOOKUP, which tells the subvolume's number.
ROOT_INODE = 256
INO_LOOKUP = 0xD0009412


def fail(text, code=1):
    """Ends the program as the appliance's own ends when it refuses."""
    print(text, file=sys.stderr)
    sys.exit(code)


@contextlib.contextmanager
def remembered():
    """The state, which nobody else has meanwhile; it is written when the block ends without an error."""
    with open(DIR / "state.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        path = DIR / "state.json"
        before = path.read_text() if path.exists() else "{}"
        state = json.loads(before)
        yield state
        after = json.dumps(state, indent=1)
        if after != before:
            new = path.with_suffix(".new")
            new.write_text(after)
            new.rename(path)


def btrfs(*args):
    done = subprocess.run(["/usr/bin/btrfs", *map(str, args)], capture_output=True, text=True)
    if done.returncode != 0:
        fail(f"stand-in: btrfs {' '.join(map(str, args))}: {done.stderr.strip()}")
    return done


def subvolume(path):
    """The number of the subvolume whose root is at a path, or None where there is none."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        if os.fstat(fd).st_ino != ROOT_INODE:
            return None
        answer = bytearray(struct.pack("=QQ4080x", 0, ROOT_INODE))
        fcntl.ioctl(fd, INO_LOOKUP, answer)
        return struct.unpack_from("=Q", answer)[0]
    finally:
        os.close(fd)


def within(path):
    """A path as the appliance sees it, from the root of its filesystem; None where it lies elsewhere."""
    path = Path(os.path.realpath(path))
    return "/" + str(path.relative_to(MNT)) if path.is_relative_to(MNT) and path != MNT else None


def make(path):
    btrfs("subvolume", "create", path)


def convert(path):
    """Makes a directory a subvolume, with what is in it."""
    path = Path(path)
    if subvolume(path) is not None:
        return
    new, old = path.with_name(f".{path.name}.new"), path.with_name(f".{path.name}.old")
    make(new)
    for entry in path.iterdir():
        subprocess.run(["/usr/bin/cp", "-a", "--reflink=always", entry, new], check=True)
    shutil.copystat(path, new)
    at = path.stat()
    os.chown(new, at.st_uid, at.st_gid)
    os.chmod(new, stat.S_IMODE(at.st_mode))
    path.rename(old)
    new.rename(path)
    shutil.rmtree(old)


def delete(path):
    btrfs("subvolume", "delete", "--commit-after", path)


def limit(path, most):
    """Sets what a subvolume may hold, bytes; None is no limit."""
    # Asked for at the top: a subvolume that is over its limit takes no change at all, not even of its limit.
    btrfs("qgroup", "limit", "none" if most is None else most, f"0/{subvolume(path)}", MNT)


def usage():
    """Bytes in each subvolume, by its number."""
    btrfs("filesystem", "sync", MNT)
    said = btrfs("qgroup", "show", "--raw", MNT)
    if "inconsistent" in said.stderr:
        btrfs("quota", "rescan", "-w", MNT)
        said = btrfs("qgroup", "show", "--raw", MNT)
    rows = [line.split() for line in said.stdout.splitlines()]
    return {int(row[0][2:]): int(row[1]) for row in rows if row and row[0].startswith("0/")}
