//! Reads a driver file.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::domain::driver_file::DriverFile;
use crate::domain::error::{Error, Result};
use crate::host;
use crate::host::{files, program};
use crate::quota;

/// Far more than any driver file needs.
const MOST: u64 = 64 << 10;

/// The driver that a file describes. What is wrong with it is exit 2, with its place in the file.
///
/// The file says what root runs, so it is refused (exit 5) where anybody else could have written it or one of its programs.
pub fn read(path: &Path) -> Result<DriverFile> {
    let real = path.canonicalize().map_err(|e| missing(path, e))?;
    let meta = std::fs::metadata(&real).map_err(|e| missing(path, e))?;
    if !meta.is_file() {
        return Err(Error::usage(format!("{} is not a driver file, but {}", path.display(), kind(&meta))));
    }
    if meta.mode() & 0o022 != 0 || ![0, files::own_uid()].contains(&meta.uid()) {
        return Err(Error::not_permitted(format!(
            "{} names programs that root runs, and others than root can write to it",
            path.display()
        ))
        .hint(format!("chown root:root {0} && chmod 644 {0}", path.display())));
    }
    if meta.len() > MOST {
        return Err(Error::usage(format!("{} is larger than {MOST} bytes", path.display())));
    }
    let text = std::fs::read(&real).map_err(|e| missing(path, e))?;
    let file = parse(path, &text)?;
    require_roots(path, &file)?;
    Ok(file)
}

/// A program that is not installed is told where the storage is looked at.
fn require_roots(path: &Path, file: &DriverFile) -> Result<()> {
    for program in file.programs().into_iter().filter_map(program::find) {
        let Some(open) = program::writable_by_others(&program)? else { continue };
        return Err(Error::not_permitted(format!(
            "{} has root run {}, and others than root can write to {}",
            path.display(),
            program.display(),
            open.display()
        ))
        .hint(format!("chown root:root {0} && chmod go-w {0}", open.display())));
    }
    Ok(())
}

/// Deeper than any driver file. The YAML library takes a time that grows with the square of the depth.
const DEPTH: usize = 64;

fn is_deep(text: &[u8]) -> bool {
    let mut depth = 0_usize;
    text.iter().any(|byte| {
        match byte {
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth > DEPTH
    })
}

fn parse(path: &Path, text: &[u8]) -> Result<DriverFile> {
    // A byte order mark is no part of the first key.
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    if is_deep(text) {
        return Err(Error::usage(format!("{} is nested deeper than {DEPTH} levels", path.display())));
    }
    let file: DriverFile = serde_yaml::from_slice(text).map_err(|e| {
        let place = e.location().map_or(String::new(), |at| format!(":{}:{}", at.line(), at.column()));
        let said = e.to_string();
        // The place stands in front.
        let said = said.split(" at line ").next().unwrap_or(&said).to_owned();
        Error::usage(format!("{}{place}: {said}", path.display()))
    })?;
    let placed = |error: Error| Error { message: format!("{}: {}", path.display(), error.message), ..error };
    file.check(quota::groups).map_err(placed)?;
    Ok(file)
}

fn missing(path: &Path, error: std::io::Error) -> Error {
    match error.kind() {
        std::io::ErrorKind::NotFound => Error::not_found(format!("there is no file {}", path.display())),
        _ => host::Error::path("read", path, error).into(),
    }
}

fn kind(meta: &std::fs::Metadata) -> &'static str {
    if meta.is_dir() { "a directory" } else { "a special file" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        let wrong = |text: &str| parse(Path::new("f.yaml"), text.as_bytes()).unwrap_err().message;
        assert_eq!(
            wrong("name: x\nenforcement: iron\n"),
            "f.yaml:2:14: enforcement: unknown variant `iron`, expected one of `kernel`, `kernel_owner_can_leave`, \
             `cooperative`, `volume`, `none`"
        );
        assert!(wrong("name: [\n").starts_with("f.yaml:"), "{}", wrong("name: [\n"));
        assert!(wrong("name: x\n").contains("missing field"), "{}", wrong("name: x\n"));
        assert_eq!(wrong(&"[".repeat(30_000)), "f.yaml is nested deeper than 64 levels");
        assert!(wrong("\u{feff}name: x\n").contains("missing field `enforcement`"));
        let whole =
            "name: x\nenforcement: kernel\nset: [x, 1]\nunset: [x]\nread: [x, '{path}']\nlimit: {json: /l}\n";
        assert_eq!(wrong(whole), "f.yaml: 'set' says no limit: it needs {bytes} or {kib}");
    }

    #[test]
    fn a_hostile_driver_file_is_refused_at_once() {
        let whole = "name: x\nenforcement: kernel\nset: [x, '{bytes}']\nunset: [[x], [y]]\nread: [x, '{path}']\n\
                     used: {pattern: 'u ([0-9]+)', unit: 1024}\nlimit: {json: /l}\n";
        assert!(parse(Path::new("f.yaml"), whole.as_bytes()).is_ok());
        crate::testing::each_yaml(&[whole], MOST as usize, |text| {
            let _ = parse(Path::new("f.yaml"), text);
        });
    }
}
