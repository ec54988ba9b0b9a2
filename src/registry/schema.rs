//! The JSON Schema of the registry, for editors and checks.

use serde_json::{Value, json};

/// The schema of the whole file.
pub fn schema() -> Value {
    let uuid = json!({"type": "string", "format": "uuid"});
    let time = json!({"type": "string", "format": "date-time"});
    let bytes = json!({"type": "integer", "minimum": 0, "description": "bytes"});
    let level = json!({"enum": ["none", "ro", "rw"]});
    let owner = json!({"type": "string", "pattern": "^(user|project)/[a-z0-9][a-z0-9._@+-]*$"});
    let state = json!({"enum": ["active", "inactive"]});
    let actions = json!({
        "type": "array",
        "items": {"enum": ["create", "modify", "delete", "mount", "clone", "invite", "share"]},
    });
    let by_owner = json!({"type": "object", "additionalProperties": actions});
    let allowance = json!({
        "max_vfolders": {"type": "integer", "minimum": 0, "description": "counted in every status"},
        "max_quota": bytes,
        "default_quota": bytes,
    });
    let section = |record: Value| json!({"type": ["object", "null"], "additionalProperties": record});
    let record = |required: &[&str], properties: Value| json!({"type": "object", "required": required, "properties": properties});
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "vfadm registry",
        "type": "object",
        "required": ["vfadm", "settings", "end"],
        "properties": {
            "vfadm": record(&["schema", "registry", "generation", "updated_at"], json!({
                "schema": {"const": super::state::SCHEMA},
                "registry": uuid,
                "generation": {"type": "integer", "minimum": 0},
                "updated_at": time,
            })),
            "settings": record(&["uid", "gid", "mode", "next_kernel_id", "trash_days"], json!({
                "uid": {"type": "integer"},
                "gid": {"type": "integer"},
                "mode": {"type": "string", "pattern": "^[0-7]{3,4}$"},
                "default_volume": {"type": "string"},
                "next_kernel_id": {"type": "integer", "description": "never used twice"},
                "trash_days": {"type": "integer"},
            })),
            "volumes": section(record(&["id", "path", "driver", "folders"], json!({
                "id": uuid,
                "path": {"type": "string", "pattern": "^/"},
                "driver": {"enum": ["xfs", "ext4", "zfs", "cephfs", "btrfs", "exec", "dedicated", "none"]},
                "folders": {"enum": ["directory", "subvolume", "dataset"]},
                "exec": {"type": "object", "description": "the driver file of the driver exec"},
                "dedicated_to": owner,
                "blocked": actions,
                "blocked_for": by_owner,
                "allowed_for": by_owner,
                "draining": {"type": "array", "items": {"type": "integer"}},
            }))),
            "users": section(record(&["id"], merged(json!({"id": uuid, "state": state}), &allowance))),
            "projects": section(record(&["id"], merged(json!({
                "id": uuid,
                "state": state,
                "members": {"type": "object", "additionalProperties": {"enum": ["admin", "member"]}},
            }), &allowance))),
            "scopes": section(record(&["limit", "present"], json!({
                "limit": {"type": ["integer", "null"], "description": "bytes; null is unlimited"},
                "source": {"enum": ["set", "init", "default", "max", "none"]},
                "kernel_id": {"type": "integer"},
                "present": {"type": "boolean"},
            }))),
            "vfolders": section(record(&["id", "volume", "status", "created_at"], json!({
                "id": uuid,
                "volume": {"type": "string"},
                "status": {"enum": ["creating", "copying", "ready", "trashed", "purging"]},
                "permission": level,
                "cloneable": {"type": "boolean"},
                "created_at": time,
                "trashed_at": time,
                "shares": {"type": "object", "additionalProperties": level},
                "transfer": record(&["to", "volume", "boot_id"], json!({
                    "to": owner,
                    "volume": {"type": "string"},
                    "permission": level,
                    "boot_id": {"type": "string"},
                    "copied": {"type": "boolean"},
                })),
            }))),
            "invitations": section(record(
                &["vfolder", "invitee", "permission", "state", "created_at", "expires_at"],
                json!({
                    "vfolder": uuid,
                    "inviter": {"type": "string"},
                    "invitee": {"type": "string"},
                    "permission": level,
                    "state": {"enum": ["pending", "accepted", "rejected", "canceled", "expired"]},
                    "created_at": time,
                    "expires_at": time,
                }),
            )),
            "sessions": section(record(&["id", "user", "kernels", "mounts", "started_at"], json!({
                "id": uuid,
                "user": {"type": "string"},
                "project": {"type": "string"},
                "kernels": {"type": "array", "items": record(&["name", "node", "holder"], json!({
                    "name": {"type": "string"},
                    "node": {"type": "string"},
                    "holder": record(&["kind"], json!({
                        "kind": {"enum": ["process", "container", "unit", "slurm", "manual"]},
                        "pid": {"type": "integer"},
                        "start_time": {"type": "integer", "description": "clock ticks after boot"},
                        "boot_id": {"type": "string"},
                        "engine": {"enum": ["docker", "podman", "nerdctl", "runc"]},
                        "name": {"type": "string"},
                        "job": {"type": "integer"},
                        "namespace": {"type": "integer", "description": "inode of the PID namespace"},
                    })),
                    "started_at": time,
                    "boot_id": {"type": "string"},
                }))},
                "lease": record(&["until", "seconds"], json!({
                    "until": time,
                    "seconds": {"type": "integer", "minimum": 1},
                })),
                "mounts": {"type": "array", "items": record(&["vfolder", "target", "permission"], json!({
                    "vfolder": uuid,
                    "subpath": {"type": "string"},
                    "target": {"type": "string", "pattern": "^/"},
                    "permission": level,
                    "auto": {"type": "boolean"},
                }))},
                "started_at": time,
                "run": {"type": "boolean"},
                "container": record(&["kind"], json!({
                    "kind": {"enum": ["container"]},
                    "engine": {"enum": ["docker", "podman", "runc"]},
                    "name": {"type": "string"},
                })),
            }))),
            "end": record(&["generation", "records", "sum"], json!({
                "generation": {"type": "integer"},
                "records": {"type": "integer"},
                "sum": {"type": "string"},
            })),
        },
    })
}

fn merged(mut into: Value, from: &Value) -> Value {
    if let (Value::Object(into), Value::Object(from)) = (&mut into, from) {
        into.extend(from.clone());
    }
    into
}
