//! Shows every regular file and directory of a tree by an open handle.

use std::ffi::{CStr, OsStr};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::Progress;
use super::node::Node;
use super::walk::{At, Crew, Visit, Walk};
use crate::host::dir::Dir;
use crate::host::entries::{self, Entry, Hint, Kind, Status};
use crate::host::{self, Error, project};

/// What is done with each: its path below the tree, an open handle, and whether it is a directory.
pub type Look<'a> = &'a (dyn Fn(&dyn Fn() -> PathBuf, BorrowedFd<'_>, bool) + Sync);

/// Looks at `dir` and at every directory and regular file below it, on the same mount; links and special files are
/// passed over, and so is what goes away meanwhile. Fails when `dir` cannot be opened, or with `Error::Interrupted`.
pub fn each(dir: &Dir, look: Look<'_>, progress: &dyn Progress) -> host::Result<()> {
    let failed = |e| Error::path("read", dir.path(), e);
    let root = entries::reopen(dir).map_err(failed)?;
    let status = entries::status(&root, c"").map_err(failed)?;
    look(&|| PathBuf::new(), root.as_fd(), true);
    let walk = Walk::new(root, dir.path().to_owned(), Crew { threads: 0, share: true }, progress);
    match walk.run(&Looker { look }, walk.root(status.identity, ())) {
        true => Ok(()),
        false => Err(Error::Interrupted),
    }
}

struct Looker<'a> {
    look: Look<'a>,
}

impl Visit for Looker<'_> {
    type Data = ();
    type Worker = ();

    fn met(&self, _parent: &Node<()>, _name: &CStr) {}

    fn enter(&self, _: &Walk<'_, Self>, _: &mut (), handle: &OwnedFd, at: At<'_, Self>, _: &Status) -> bool {
        if at.node.parent.is_some() {
            (self.look)(&|| at.node.below(), handle.as_fd(), true);
        }
        true
    }

    fn refused(&self, _: &Walk<'_, Self>, _: &mut (), _: At<'_, Self>, _: io::Error) {}

    fn lost(&self, _: &Walk<'_, Self>, _: &mut (), _: &Node<()>, _: io::Error) {}

    fn entry(
        &self,
        _: &Walk<'_, Self>,
        _: &mut (),
        node: &Node<()>,
        dir: &OwnedFd,
        entry: &Entry<'_>,
    ) -> bool {
        match (entry.hint, entries::status(dir, entry.name)) {
            (Hint::Directory, _) => return true,
            (_, Ok(status)) if status.kind == Kind::Directory => return true,
            (_, Ok(status)) if status.kind == Kind::File => {}
            _ => return false,
        }
        if let Ok(file) = project::open_file(dir, entry.name) {
            let path = || node.below().join(Path::new(OsStr::from_bytes(entry.name.to_bytes())));
            (self.look)(&path, file.as_fd(), false);
        }
        false
    }

    fn block_done(&self, _: &Walk<'_, Self>, _: &mut (), _: &Node<()>) {}

    fn leave(&self, _: &Walk<'_, Self>, _: &mut (), _: &Node<()>, _: &Node<()>) -> bool {
        false
    }

    fn end(&self, _: &Walk<'_, Self>, _: ()) {}
}
