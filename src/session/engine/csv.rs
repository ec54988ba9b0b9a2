//! The fields of a `--mount` argument. docker, podman and apptainer read it as one CSV record (Go's `encoding/csv`:
//! docker/cli `opts/mount.go`, podman `specgenutilexternal`, apptainer `bind.ParseMountString`), so a field that holds
//! a comma or a quote is quoted, and a quote in it doubled (RFC 4180).

/// One record.
pub fn record(fields: &[String]) -> String {
    fields.iter().map(|field| quoted(field)).collect::<Vec<_>>().join(",")
}

fn quoted(field: &str) -> String {
    if field.contains([',', '"']) { format!("\"{}\"", field.replace('"', "\"\"")) } else { field.to_owned() }
}
