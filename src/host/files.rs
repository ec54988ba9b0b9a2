//! Root-owned files: bounded reading, durable replacement.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;

use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::Mode;

use super::dir::{Dir, without_trace};
use super::error::{Error, Result};

/// To its owner alone.
const OWN: u32 = 0o600;

/// Reads a file of at most `most` bytes; `None` when there is none.
pub fn read(dir: &Dir, name: &str, most: u64) -> Result<Option<Vec<u8>>> {
    // On CephFS another node may first have to write back what it holds.
    super::apart::beat();
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
    let file = match without_trace(flags, |flags| openat(dir, name, flags, Mode::empty())) {
        Ok(fd) => File::from(fd),
        Err(nix::errno::Errno::ENOENT) => return Ok(None),
        Err(e) => return Err(Error::path("open", dir.join(name), e)),
    };
    let failed = |e| Error::path("read", dir.join(name), e);
    let meta = file.metadata().map_err(failed)?;
    if !meta.is_file() {
        return Err(Error::Program(format!("{} is not a regular file", dir.join(name).display())));
    }
    let mut bytes = Vec::with_capacity(meta.len().min(most) as usize + 1);
    file.take(most + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > most {
        return Err(Error::Program(format!("{} is larger than {most} bytes", dir.join(name).display())));
    }
    Ok(Some(bytes))
}

/// Whom a new file belongs to.
#[derive(Clone, Copy, Debug)]
pub struct Ownership {
    /// Permission bits.
    pub mode: u32,
    /// Owner and group.
    pub ids: (u32, u32),
}

/// The name under which a file is written before it takes its own.
pub fn draft_name(name: &str) -> String {
    format!(".{name}.new")
}

/// Writes a draft beside `name` and makes it durable. Only one process may do this at a time.
pub fn write_draft(dir: &Dir, name: &str, bytes: &[u8], like: Ownership) -> Result<()> {
    let draft = draft_name(name);
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_TRUNC | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let failed = |e: std::io::Error| Error::path("write", dir.join(name), e);
    let fd =
        openat(dir, draft.as_str(), flags, Mode::from_bits_truncate(0o600)).map_err(|e| failed(e.into()))?;
    let mut file = File::from(fd);
    let write = |file: &mut File| {
        file.set_permissions(std::fs::Permissions::from_mode(like.mode))?;
        let meta = file.metadata()?;
        use std::os::unix::fs::MetadataExt;
        if (meta.uid(), meta.gid()) != like.ids {
            std::os::unix::fs::fchown(&*file, Some(like.ids.0), Some(like.ids.1))?;
        }
        file.write_all(bytes)?;
        file.sync_all()
    };
    write(&mut file).map_err(|e| {
        let _ = dir.remove_file(&draft);
        failed(e)
    })
}

/// Gives the draft its name, in place of what had it, and makes that durable.
pub fn publish_draft(dir: &Dir, name: &str) -> Result<()> {
    let draft = draft_name(name);
    if let Err(e) = nix::fcntl::renameat(dir, draft.as_str(), dir, name) {
        let _ = dir.remove_file(&draft);
        return Err(Error::path("replace", dir.join(name), e));
    }
    dir.sync()
}

/// Replaces a file as a whole, durably.
pub fn replace(dir: &Dir, name: &str, bytes: &[u8], like: Ownership) -> Result<()> {
    write_draft(dir, name, bytes, like)?;
    publish_draft(dir, name)
}

/// Gives a file a second name; an existing second name is fine.
pub fn link(dir: &Dir, name: &str, to: &Dir, second: &str) -> Result<()> {
    match nix::unistd::linkat(dir, name, to, second, AtFlags::empty()) {
        Ok(()) | Err(nix::errno::Errno::EEXIST) => Ok(()),
        Err(e) => Err(Error::path("link", to.join(second), e)),
    }
}

/// Appends a line to a file, which is made (0600) if need be, and makes it durable. What an append that was cut off left
/// stays a line of its own, and a line that cannot be written whole is taken back.
pub fn append_line(dir: &Dir, name: &str, line: &[u8]) -> Result<()> {
    let failed = |e: std::io::Error| Error::path("write", dir.join(name), e);
    let flags = OFlag::O_RDWR | OFlag::O_APPEND | OFlag::O_CREAT | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let fd = openat(dir, name, flags, Mode::from_bits_truncate(0o600)).map_err(|e| failed(e.into()))?;
    let mut file = File::from(fd);
    let length = own(&file).map_err(failed)?;
    let mut text = Vec::with_capacity(line.len() + 2);
    if let Some(last) = length.checked_sub(1) {
        let mut byte = [0];
        file.read_exact_at(&mut byte, last).map_err(failed)?;
        text.extend((byte != *b"\n").then_some(b'\n'));
    }
    text.extend_from_slice(line);
    text.push(b'\n');
    if let Err(e) = file.write_all(&text).and_then(|()| file.sync_data()) {
        let _ = file.set_len(length);
        return Err(failed(e));
    }
    if length == 0 { dir.sync() } else { Ok(()) }
}

/// Opens a file for reading and writing, making it (0600) if need be.
pub fn open_or_create(dir: &Dir, name: &str) -> Result<File> {
    let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let failed = |e: std::io::Error| Error::path("open", dir.join(name), e);
    let fd = openat(dir, name, flags, Mode::from_bits_truncate(0o600)).map_err(|e| failed(e.into()))?;
    let file = File::from(fd);
    own(&file).map_err(failed)?;
    Ok(file)
}

/// Gives a file that may have just been made the rights that a umask can have taken from its owner; its length.
fn own(file: &File) -> std::io::Result<u64> {
    let meta = file.metadata()?;
    if meta.permissions().mode() & OWN != OWN {
        file.set_permissions(std::fs::Permissions::from_mode(OWN))?;
    }
    Ok(meta.len())
}

/// Opens an existing file for reading and writing; `None` when there is none.
pub fn open_existing(dir: &Dir, name: &str) -> Result<Option<File>> {
    let flags = OFlag::O_RDWR | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    match openat(dir, name, flags, Mode::empty()) {
        Ok(fd) => Ok(Some(File::from(fd))),
        Err(nix::errno::Errno::ENOENT) => Ok(None),
        Err(e) => Err(Error::path("open", dir.join(name), e)),
    }
}

/// Takes all rights of others from a regular file or a directory, and gives it to whom `owner` answers for its present one. What
/// has gone is fine.
pub fn secure(dir: &Dir, name: &OsStr, owner: impl Fn(u32) -> u32) -> Result<()> {
    use std::os::unix::fs::MetadataExt;
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
    let failed = |e: std::io::Error| Error::path("take the rights of others from", dir.join(name), e);
    let file = match openat(dir, name, flags, Mode::empty()) {
        Ok(fd) => File::from(fd),
        Err(nix::errno::Errno::ENOENT) => return Ok(()),
        Err(e) => return Err(failed(e.into())),
    };
    let meta = file.metadata().map_err(failed)?;
    let uid = owner(meta.uid());
    if uid != meta.uid() {
        std::os::unix::fs::fchown(&file, Some(uid), None).map_err(failed)?;
    }
    let mode = meta.permissions().mode() & 0o700;
    file.set_permissions(std::fs::Permissions::from_mode(mode)).map_err(failed)
}

/// True while an open file is what `name` stands for.
pub fn is_at(file: &File, dir: &Dir, name: &str) -> Result<bool> {
    use std::os::unix::fs::MetadataExt;
    let meta = file.metadata().map_err(|e| Error::path("read", dir.join(name), e))?;
    Ok(dir.stat(name)?.is_some_and(|stat| (stat.st_dev, stat.st_ino) == (meta.dev(), meta.ino())))
}

/// The user that this process runs as.
pub fn own_uid() -> u32 {
    nix::unistd::geteuid().as_raw()
}

/// The group that this process runs as.
pub fn own_gid() -> u32 {
    nix::unistd::getegid().as_raw()
}

/// True when this process runs as root.
pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// Room of the filesystem that holds a path, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Its size.
    pub total: u64,
    /// What is taken.
    pub used: u64,
}

/// `statvfs` of a path.
pub fn room(path: &Path) -> Result<Room> {
    let stat = nix::sys::statvfs::statvfs(path).map_err(|e| Error::path("measure", path, e))?;
    let unit = stat.fragment_size();
    Ok(Room { total: stat.blocks() * unit, used: (stat.blocks() - stat.blocks_free()) * unit })
}

/// Used and all inodes of the filesystem that holds a path; `None` where it makes them as it needs them (btrfs says 0;
/// CephFS says what there are, and that -1 are free).
pub fn inodes(path: &Path) -> Option<(u64, u64)> {
    let stat = nix::sys::statvfs::statvfs(path).ok()?;
    let used = stat.files().checked_sub(stat.files_free())?;
    (stat.files() > 0).then_some((used, stat.files()))
}

/// Why nothing can be written into a directory, as far as the mount and a question to the filesystem tell: its server
/// can refuse what the mount allows.
pub fn write_refusal(dir: &Dir) -> Option<String> {
    use nix::sys::statvfs::{FsFlags, fstatvfs};
    use nix::unistd::{AccessFlags, faccessat};
    let path = dir.path().display();
    if fstatvfs(dir).is_ok_and(|s| s.flags().contains(FsFlags::ST_RDONLY)) {
        return Some(format!("{path} is mounted read-only"));
    }
    let error = faccessat(dir, ".", AccessFlags::W_OK, AtFlags::AT_EACCESS).err()?;
    Some(format!("{path} cannot be written to: {}", super::error::reason(&error.into())))
}
