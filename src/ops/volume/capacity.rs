//! What is left of the storage's own limits.

use serde_json::{Value, json};

use crate::host::{files, process};
use crate::plan::VolumeAt;
use crate::quota::Capacity;

/// From here on a limit is warned of, in percent.
const NEAR: u64 = 80;

/// The limits of the storage of a volume that can be used, and of this host; what cannot be read is left out.
pub(super) fn of(usable: Option<&VolumeAt>) -> Vec<Capacity> {
    let mut all = Vec::new();
    if let Some(at) = usable {
        all.extend(at.driver().capacities(&at.path).unwrap_or_default());
        all.extend(files::inodes(&at.path).map(|(used, most)| Capacity {
            name: "inodes",
            used,
            most: Some(most),
        }));
    }
    let mounts = process::own_mounts().map_or(0, |mounts| mounts.len() as u64);
    all.push(Capacity { name: "mounts", used: mounts, most: process::most_mounts() });
    all
}

fn percent(capacity: &Capacity) -> Option<u64> {
    let most = capacity.most.filter(|most| *most > 0)?;
    Some((u128::from(capacity.used) * 100 / u128::from(most)) as u64)
}

/// One of them: `left` and `percent` are absent where nobody says how many there can be.
pub(super) fn document(capacity: &Capacity) -> Value {
    let mut item = json!({"name": capacity.name, "used": capacity.used});
    if let (Some(most), Some(percent), Value::Object(map)) = (capacity.most, percent(capacity), &mut item) {
        map.insert("most".to_owned(), json!(most));
        map.insert("left".to_owned(), json!(most.saturating_sub(capacity.used)));
        map.insert("percent".to_owned(), json!(percent));
    }
    item
}

/// A sentence for each limit of a shown volume that is nearly reached.
pub fn warnings(item: &Value) -> Vec<String> {
    let limits = item["limits"].as_array().into_iter().flatten();
    let near = limits.filter(|limit| limit["percent"].as_u64().is_some_and(|p| p >= NEAR));
    near.map(|limit| {
        format!(
            "{} of {} {} are used on the volume '{}'",
            limit["used"],
            limit["most"],
            limit["name"].as_str().unwrap_or_default(),
            item["name"].as_str().unwrap_or_default()
        )
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_that_is_four_fifths_used_is_warned_of() {
        let limits =
            [("qgroups", 79, Some(100)), ("datasets", 80, Some(100)), ("inodes", 5, None), ("x", 0, Some(0))];
        let limits: Vec<Value> = limits
            .iter()
            .map(|(name, used, most)| document(&Capacity { name, used: *used, most: *most }))
            .collect();
        assert_eq!(
            limits[1],
            json!({"name": "datasets", "used": 80, "most": 100, "left": 20, "percent": 80})
        );
        assert_eq!(limits[2], json!({"name": "inodes", "used": 5}));
        let item = json!({"name": "fast", "limits": limits});
        assert_eq!(warnings(&item), ["80 of 100 datasets are used on the volume 'fast'"]);
    }
}
