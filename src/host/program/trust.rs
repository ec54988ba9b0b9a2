//! Whether a program that root is to run is root's alone.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use nix::libc;

use crate::host::error::{Error, Result};
use crate::host::files;

/// As many as the kernel follows (path_resolution(7)).
const MOST_LINKS: usize = 40;

/// The file, link or directory on the way to a program (an absolute path) which others than root can change or replace, so
/// that they could have root run what they like. In a sticky directory (`/tmp`) an entry is its owner's to replace.
pub fn writable_by_others(path: &Path) -> Result<Option<PathBuf>> {
    let names = |path: &Path| -> Vec<OsString> {
        path.components()
            .filter(|part| !matches!(part, Component::RootDir | Component::CurDir | Component::Prefix(_)))
            .map(|part| part.as_os_str().to_owned())
            .collect()
    };
    let mut here = PathBuf::from("/");
    let mut left: VecDeque<OsString> = names(path).into();
    let mut links = 0;
    loop {
        let meta = here.symlink_metadata().map_err(|e| Error::path("read", &here, e))?;
        if !is_roots(&meta) {
            return Ok(Some(here));
        }
        if meta.is_symlink() {
            links += 1;
            if links > MOST_LINKS {
                let source = std::io::Error::from_raw_os_error(libc::ELOOP);
                return Err(Error::path("read", path, source));
            }
            let target = here.read_link().map_err(|e| Error::path("read", &here, e))?;
            match target.is_absolute() {
                true => here = PathBuf::from("/"),
                false => _ = here.pop(),
            }
            names(&target).into_iter().rev().for_each(|name| left.push_front(name));
        }
        match left.pop_front() {
            Some(name) if name == ".." => _ = here.pop(),
            Some(name) => here.push(name),
            None if meta.is_symlink() => {}
            None => return Ok(None),
        }
    }
}

fn is_roots(meta: &Metadata) -> bool {
    let is_own = [0, files::own_uid()].contains(&meta.uid());
    let is_sticky = meta.is_dir() && meta.mode() & libc::S_ISVTX != 0;
    is_own && (meta.is_symlink() || is_sticky || meta.mode() & 0o022 == 0)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, chown, lchown, symlink};

    use super::*;

    fn mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn who_can_change_a_file_or_replace_it_on_its_way_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().canonicalize().unwrap();
        let (inner, tool, link) = (dir.join("inner"), dir.join("inner/tool"), dir.join("link"));
        fs::create_dir(&inner).unwrap();
        fs::write(&tool, "").unwrap();
        symlink("inner/../inner/tool", &link).unwrap();
        let both = || [&tool, &link].map(|path| writable_by_others(path).unwrap());
        for path in [&inner, &tool] {
            mode(path, 0o755);
        }
        assert_eq!(both(), [None, None]);
        for bits in [0o777, 0o775, 0o757] {
            for path in [&inner, &tool] {
                mode(path, bits);
                assert_eq!(both(), [Some(path.clone()), Some(path.clone())], "{bits:o}");
                mode(path, 0o755);
            }
        }
        mode(&inner, 0o1777);
        assert_eq!(both(), [None, None]);
        chown(&tool, Some(50_000), None).unwrap();
        assert_eq!(both(), [Some(tool.clone()), Some(tool.clone())]);
        chown(&tool, Some(0), None).unwrap();
        lchown(&link, Some(50_000), None).unwrap();
        assert_eq!(both(), [None, Some(link.clone())]);
        assert_eq!(writable_by_others(Path::new("/bin/sh")).unwrap(), None);
        assert!(writable_by_others(&dir.join("none")).is_err());
    }

    #[test]
    fn links_without_end_are_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("link");
        symlink(&link, &link).unwrap();
        assert_eq!(writable_by_others(&link).unwrap_err().errno(), Some(libc::ELOOP));
    }
}
