//! Lines of fstab(5).

use super::Spec;
use crate::domain::text::{octal, steers};

/// A bind a line; with a root directory the targets lie in it.
pub fn lines(spec: &Spec) -> Vec<String> {
    let root = spec.rootfs.as_deref().unwrap_or("").trim_end_matches('/');
    let line = |bind: &super::Bind| {
        let access = if bind.read_only { "ro" } else { "rw" };
        let target = escape(&format!("{root}{}", bind.target));
        format!("{} {target} none bind,{access},nosuid,nodev 0 0", escape(&bind.source))
    };
    spec.binds.iter().map(line).collect()
}

/// What separates fields is written in octal (getmntent(3)); a `#` too, of which readers differ, and what would steer a
/// terminal.
fn escape(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for c in path.chars() {
        match c {
            c if matches!(c, ' ' | '\\' | '#') || steers(c) => {
                out.push_str(&octal(c.encode_utf8(&mut [0; 4]).as_bytes()));
            }
            c => out.push(c),
        }
    }
    out
}
