//! `vfadm init`.

use anyhow::Result;

use super::App;
use super::volume::driver_kind;
use crate::cli::system::Init;
use crate::ops;

impl App {
    pub(super) fn init(&self, arguments: Init) -> Result<u8> {
        let named = arguments.volume.is_some();
        let (name, path) = arguments.volume.unwrap_or_else(|| ("local".to_owned(), "local".into()));
        let request = ops::init::Init {
            named,
            uid: arguments.uid,
            gid: arguments.gid,
            mode: arguments.mode,
            volume: ops::volume::Add {
                name,
                path,
                driver: driver_kind(arguments.quota),
                driver_file: None,
                folders: None,
                dedicated_to: None,
                mount: None,
                make_image: None,
                quota_host: None,
                verify: false,
                make_dir: true,
                yes: self.yes,
                dry_run: self.ctx.dry_run,
            },
        };
        let done = ops::init::init(&self.ctx, &request)?;
        self.done("Registry", done)
    }
}
