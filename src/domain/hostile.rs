//! Whatever is typed is a value or a sentence, and what a value is written as is read as the same.

use std::fmt::{Debug, Display};
use std::str::FromStr;

use super::error::Code;
use super::holder::Named;
use super::owner::{Owner, split_folder_key, split_scope_key};
use super::reference::{FolderRef, KernelRef, MountRequest, Subject};
use super::size::{self, Limit};
use super::{duration, engine, level, name};
use crate::testing::each_text;

/// What is read and written.
fn same<T>(samples: &[&str])
where
    T: FromStr<Err = super::error::Error> + Display + PartialEq + Debug,
{
    each_text(samples, |text| match text.parse::<T>() {
        Ok(value) => assert_eq!(value.to_string().parse::<T>(), Ok(value)),
        Err(error) => refused(&error),
    });
}

/// A refusal is a usage error; that it cannot steer a terminal is seen to where it is printed.
fn refused(error: &super::error::Error) {
    assert_eq!(error.code, Code::Usage, "{error:?}");
    assert!(!error.message.is_empty());
}

#[test]
fn references_are_read_as_they_are_written() {
    let folders = ["alice/data", "user/alice/data", "project/ml/data", "id:3D1d-94f0", "data", "a@b/.x"];
    same::<FolderRef>(&folders);
    same::<Subject>(&[&folders[..], &["alice", "project/ml"]].concat());
    same::<Owner>(&["alice", "user/alice", "project/ml"]);
    same::<level::Level>(&["ro", "rw", "none"]);
    same::<engine::Engine>(&["docker", "podman", "apptainer"]);
}

#[test]
fn what_is_typed_is_a_value_or_a_sentence() {
    each_text(
        &["data:/workspace:ro", "id:3d1d/sub:/x", "source=a/b,subpath=p\\,q,target=/t,perm=rw"],
        |text| {
            if let Err(error) = text.parse::<MountRequest>() {
                refused(&error);
            }
        },
    );
    each_text(&["main@gpu01", "main"], |text| {
        if let Err(error) = text.parse::<KernelRef>() {
            refused(&error);
        }
    });
    each_text(&["pid:12", "container:docker/a", "unit:a.service", "slurm:12"], |text| {
        if let Err(error) = text.parse::<Named>() {
            refused(&error);
        }
    });
    each_text(&["10s", "5m", "12h", "30d", "2026-11-24", "2026-11-24T12:00:00Z"], |text| {
        if let Err(error) = duration::parse(text) {
            refused(&error);
        }
        if let Err(error) = duration::since(text) {
            refused(&error);
        }
    });
    each_text(&["user/alice/data", "project/ml@fast", "user/a@b@fast"], |text| {
        if let Some((owner, name)) = split_folder_key(text) {
            assert_eq!(owner.folder_key(name), text);
        }
        if let Some((owner, volume)) = split_scope_key(text) {
            // The kind of a user may be left out.
            let whole = owner.scope_key(volume);
            assert!(whole == text || whole == format!("user/{text}"), "{text}");
        }
    });
}

#[test]
fn sizes_are_never_rounded_down_and_never_overflow() {
    each_text(&["4096", "1.5g", "64MiB", "9223372036854775807", "8191.999p", ".5k", "unlimited"], |text| {
        match size::parse(text) {
            Ok(bytes) => assert_eq!(size::parse(&bytes.to_string()), Ok(bytes)),
            Err(error) => refused(&error),
        }
        if let Ok(Limit(Some(bytes))) = text.parse::<Limit>() {
            assert!(i64::try_from(bytes).is_ok());
        }
    });
}

#[test]
fn a_name_that_is_accepted_is_one_component_and_printable() {
    each_text(&["data", ".config", "日本", "a b", "x.y_z-0"], |text| {
        let accepted = [name::vfolder(text), name::owner("user", text), name::thing("volume", text)];
        for found in accepted.into_iter().flatten() {
            assert!(!found.is_empty() && found.len() <= 255 && !["", ".", ".."].contains(&found.as_str()));
            assert!(!found.contains('/') && !found.chars().any(char::is_control), "{found:?}");
        }
        assert!(!name::printable(text).chars().any(char::is_control));
        let _ = name::shell_word(text);
    });
}
