//! Engines that are told by arguments. No path with a control character is put on a command line that people paste.

use super::{Bind, Spec, Told, csv, refused, require_without};
use crate::domain::engine::Engine;
use crate::domain::error::Result;

fn option(name: &str, value: String) -> Vec<String> {
    vec![name.to_owned(), value]
}

/// `--mount`, `--user` and `--env` of docker, podman and nerdctl.
///
/// nerdctl splits the argument at every comma, quoted or not, and joins source and target with a colon
/// (`pkg/mountutil`, `ProcessFlagMount`): it can have neither in a path. docker refuses blanks around a value.
pub fn docker(engine: Engine, spec: &Spec) -> Result<Told> {
    let is_nerdctl = engine == Engine::Nerdctl;
    require_without(engine, spec, |c| c.is_control() || (is_nerdctl && matches!(c, ',' | ':' | '"')))?;
    for path in spec.binds.iter().flat_map(|b| [&b.source, &b.target]) {
        if path.trim() != path {
            return Err(refused(engine, path, "it takes no blank at the end of a path"));
        }
    }
    let mut options: Vec<Vec<String>> = spec
        .binds
        .iter()
        .map(|bind| {
            let mut fields = fields(bind, "target");
            fields.extend(bind.read_only.then(|| "readonly".to_owned()));
            option("--mount", csv::record(&fields))
        })
        .collect();
    options.push(option("--user", format!("{}:{}", spec.uid, spec.gid)));
    options.extend(spec.env().into_iter().map(|(key, value)| option("--env", format!("{key}={value}"))));
    Ok(Told::Arguments(options))
}

fn fields(bind: &Bind, target: &str) -> Vec<String> {
    vec!["type=bind".to_owned(), format!("source={}", bind.source), format!("{target}={}", bind.target)]
}

/// `--bind SRC:DEST[:ro]`; where a path holds what that form splits at, `--mount`, whose fields are CSV ("Bind Paths
/// and Mounts" of the Apptainer user guide).
pub fn apptainer(spec: &Spec) -> Result<Told> {
    require_without(Engine::Apptainer, spec, char::is_control)?;
    let awkward = |path: &str| path.contains([':', ',', '"', '\\']);
    let mut options: Vec<Vec<String>> = spec
        .binds
        .iter()
        .map(|bind| {
            if awkward(&bind.source) || awkward(&bind.target) {
                let mut fields = fields(bind, "destination");
                fields.extend(bind.read_only.then(|| "ro".to_owned()));
                return option("--mount", csv::record(&fields));
            }
            let end = if bind.read_only { ":ro" } else { "" };
            option("--bind", format!("{}:{}{end}", bind.source, bind.target))
        })
        .collect();
    options.extend(spec.own_env().into_iter().map(|(key, value)| option("--env", format!("{key}={value}"))));
    Ok(Told::Arguments(options))
}

/// `--mount` with a line of fstab, colons for blanks. enroot turns every colon into a blank, refuses blanks, and takes
/// a field with a comma for options (`src/runtime.sh`, `bin/enroot-mount.c`).
pub fn enroot(spec: &Spec) -> Result<Told> {
    require_without(Engine::Enroot, spec, |c| {
        c.is_control() || c.is_whitespace() || matches!(c, ':' | ',' | '\\')
    })?;
    let mut options: Vec<Vec<String>> = spec
        .binds
        .iter()
        .map(|bind| {
            let access = if bind.read_only { "ro" } else { "rw" };
            let how = format!("none:x-create=auto,bind,{access},nosuid,nodev,private");
            option("--mount", format!("{}:{}:{how}", bind.source, bind.target))
        })
        .collect();
    options.extend(spec.own_env().into_iter().map(|(key, value)| option("--env", format!("{key}={value}"))));
    Ok(Told::Arguments(options))
}

/// `--bind=` and `--bind-ro=`, without the mounts below (systemd-nspawn(1): `\:` embeds a colon in either path).
pub fn nspawn(spec: &Spec) -> Result<Told> {
    require_without(Engine::Nspawn, spec, char::is_control)?;
    let escape = |path: &str| path.replace('\\', "\\\\").replace(':', "\\:");
    let mut options: Vec<Vec<String>> = spec
        .binds
        .iter()
        .map(|bind| {
            let name = if bind.read_only { "--bind-ro" } else { "--bind" };
            vec![format!("{name}={}:{}:norbind", escape(&bind.source), escape(&bind.target))]
        })
        .collect();
    options.extend(spec.env().into_iter().map(|(key, value)| vec![format!("--setenv={key}={value}")]));
    Ok(Told::Arguments(options))
}

/// `--bind SRC DEST` and `--ro-bind SRC DEST`: words of their own, in which nothing is special (bwrap(1)).
pub fn bwrap(spec: &Spec) -> Result<Told> {
    require_without(Engine::Bwrap, spec, char::is_control)?;
    let mut options: Vec<Vec<String>> = spec
        .binds
        .iter()
        .map(|bind| {
            let name = if bind.read_only { "--ro-bind" } else { "--bind" };
            vec![name.to_owned(), bind.source.clone(), bind.target.clone()]
        })
        .collect();
    let env = spec.env().into_iter();
    options.extend(env.map(|(key, value)| vec!["--setenv".to_owned(), key.to_owned(), value]));
    Ok(Told::Arguments(options))
}
