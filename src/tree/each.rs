//! Shows every entry of a tree: regular files and directories by an open handle.

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

/// An entry of the tree.
#[derive(Clone, Copy)]
pub enum Found<'a> {
    /// A directory.
    Directory(BorrowedFd<'a>),
    /// A regular file.
    File(BorrowedFd<'a>),
    /// A link or special file, which cannot be opened.
    Other {
        /// The directory that holds it.
        dir: BorrowedFd<'a>,
        /// Its name there.
        name: &'a CStr,
    },
}

/// What is done with each: its path below the tree, and what it is.
pub type Look<'a> = &'a (dyn Fn(&dyn Fn() -> PathBuf, Found<'_>) + Sync);

/// Looks at `dir` and at every entry below it, on the same mount; what goes away meanwhile is passed over. Fails when
/// `dir` cannot be opened, or with `Error::Interrupted`.
pub fn each(dir: &Dir, look: Look<'_>, progress: &dyn Progress) -> host::Result<()> {
    let failed = |e| Error::path("read", dir.path(), e);
    let root = entries::reopen(dir).map_err(failed)?;
    let status = entries::status(&root, c"").map_err(failed)?;
    look(&|| PathBuf::new(), Found::Directory(root.as_fd()));
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
            (self.look)(&|| at.node.below(), Found::Directory(handle.as_fd()));
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
        let path = || node.below().join(Path::new(OsStr::from_bytes(entry.name.to_bytes())));
        match (entry.hint, entries::status(dir, entry.name)) {
            (Hint::Directory, _) => return true,
            (_, Ok(status)) if status.kind == Kind::Directory => return true,
            (_, Ok(status)) if status.kind == Kind::File => {
                if let Ok(file) = project::open_file(dir, entry.name) {
                    (self.look)(&path, Found::File(file.as_fd()));
                }
            }
            (_, Ok(_)) => (self.look)(&path, Found::Other { dir: dir.as_fd(), name: entry.name }),
            (_, Err(_)) => {}
        }
        false
    }

    fn block_done(&self, _: &Walk<'_, Self>, _: &mut (), _: &Node<()>) {}

    fn leave(&self, _: &Walk<'_, Self>, _: &mut (), _: &Node<()>, _: &Node<()>) -> bool {
        false
    }

    fn end(&self, _: &Walk<'_, Self>, _: ()) {}
}
