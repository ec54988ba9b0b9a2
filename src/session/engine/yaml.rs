//! Fragments of YAML documents, written by the YAML library.

use serde_json::{Map, Value, json};

use super::{Spec, Told, refused, require_without};
use crate::domain::engine::Engine;
use crate::domain::error::Result;
use crate::session::places::PLACES;

/// `user`, `environment` and `volumes` of a service, in the long syntax. Compose replaces `$NAME` in every value;
/// `$$` is a `$` (Compose file reference, "Interpolation").
pub fn compose(spec: &Spec) -> Result<Told> {
    let literal = |text: &str| text.replace('$', "$$");
    let volumes: Vec<Value> = spec
        .binds
        .iter()
        .map(|bind| {
            json!({
                "type": "bind",
                "source": literal(&bind.source),
                "target": literal(&bind.target),
                "read_only": bind.read_only,
                // A folder that is not there is an error, not an empty directory.
                "bind": {"create_host_path": false},
            })
        })
        .collect();
    let env: Map<String, Value> =
        spec.env().into_iter().map(|(key, value)| (key.to_owned(), literal(&value).into())).collect();
    Ok(Told::Yaml(json!({
        "user": format!("{}:{}", spec.uid, spec.gid),
        "environment": env,
        "volumes": volumes,
    })))
}

/// `volumes` of a pod, and `volumeMounts`, `env` and `securityContext` of its containers. A folder is a volume of its
/// own; checked subpaths are those of one volume, the session's directory of them, which root alone can write to. The
/// API takes no colon in a `mountPath`, and no `..` in any of the paths (Kubernetes API reference, `VolumeMount`).
pub fn k8s(spec: &Spec) -> Result<Told> {
    require_without(Engine::K8s, spec, char::is_control)?;
    let mut volumes: Vec<Value> = Vec::new();
    let mut paths: Vec<String> = Vec::new();
    let mut mounts: Vec<Value> = Vec::new();
    for bind in &spec.binds {
        if bind.target.contains(':') {
            return Err(refused(Engine::K8s, &bind.target, "a mountPath must not contain ':'"));
        }
        let place = bind.source.strip_prefix(PLACES).and_then(|_| bind.source.rsplit_once('/'));
        let (path, subpath) = place.map_or((bind.source.as_str(), None), |(dir, number)| (dir, Some(number)));
        let at = paths.iter().position(|known| known == path).unwrap_or_else(|| {
            paths.push(path.to_owned());
            volumes.push(json!({
                "name": format!("vfadm-{}", paths.len() - 1),
                "hostPath": {"path": path, "type": "Directory"},
            }));
            paths.len() - 1
        });
        let mut mount = json!({
            "name": format!("vfadm-{at}"),
            "mountPath": bind.target,
            "readOnly": bind.read_only,
        });
        if let (Some(subpath), Value::Object(map)) = (subpath, &mut mount) {
            map.insert("subPath".to_owned(), subpath.into());
        }
        mounts.push(mount);
    }
    let env: Vec<Value> =
        spec.env().into_iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
    Ok(Told::Yaml(json!({
        "securityContext": {"runAsUser": spec.uid, "runAsGroup": spec.gid},
        "env": env,
        "volumeMounts": mounts,
        "volumes": volumes,
    })))
}
