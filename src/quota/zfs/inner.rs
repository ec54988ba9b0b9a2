//! Limits on the datasets of folders, and on a scope's dataset without what is below it: an administrator may have set one
//! with `zfs set`.

use super::tool::{self, Datasets};
use crate::domain::error::Result;
use crate::domain::size::Limit;
use crate::quota::ScopeAt;

const QUOTAS: [&str; 2] = ["quota", "refquota"];

/// Datasets of scopes or below them whose property limits something that is not the scope: the scope's place, the
/// dataset, the property and its bytes.
fn limited(all: &Datasets, parent: &str, scopes: &[ScopeAt<'_>]) -> Vec<(usize, String, &'static str, u64)> {
    let mut found = Vec::new();
    for (dataset, properties) in all.iter() {
        let Some(below) = dataset.strip_prefix(&format!("{parent}/")) else { continue };
        let (first, inside) = below.split_once('/').map_or((below, false), |(first, _)| (first, true));
        let Some(place) = scopes.iter().position(|scope| scope.dir == first) else { continue };
        for property in QUOTAS.into_iter().filter(|property| inside || *property == "refquota") {
            let bytes = properties.number(property).filter(|bytes| *bytes > 0);
            found.extend(bytes.map(|bytes| (place, dataset.clone(), property, bytes)));
        }
    }
    found
}

pub(super) fn limits(parent: &str, scopes: &[ScopeAt<'_>]) -> Result<Vec<(usize, String)>> {
    if scopes.is_empty() {
        return Ok(Vec::new());
    }
    let all = tool::get_below(parent, &QUOTAS)?;
    let words = |(place, dataset, property, bytes): (usize, String, &str, u64)| {
        (place, format!("the dataset {dataset} has a {property} of {}", Limit(Some(bytes))))
    };
    Ok(limited(&all, parent, scopes).into_iter().map(words).collect())
}

pub(super) fn lift(parent: &str, scope: &ScopeAt<'_>) -> Result<()> {
    let all = tool::get_below(&format!("{parent}/{}", scope.dir), &QUOTAS)?;
    for (_, dataset, property, _) in limited(&all, parent, std::slice::from_ref(scope)) {
        tool::change("set", &[&format!("{property}=none"), &dataset])?;
    }
    Ok(())
}
