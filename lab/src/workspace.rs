//! The sources, and what is built of them.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use crate::tied;

/// The workspace's folder: KVS_ROOT, else the nearest folder upwards that has `run-cluster.sh`, else
/// where this program was built.
pub(crate) fn root() -> PathBuf {
    if let Some(root) = std::env::var_os("KVS_ROOT").filter(|root| !root.is_empty()) {
        return root.into();
    }
    let here = std::env::current_dir().unwrap_or_default();
    let found = here.ancestors().find(|folder| folder.join("run-cluster.sh").is_file());
    found.map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join(".."), Path::to_owned)
}

/// The folder with binaries that are built already, where KVS_BIN_DIR names one.
pub(crate) fn given_binaries() -> Option<PathBuf> {
    let folder = PathBuf::from(std::env::var_os("KVS_BIN_DIR").filter(|it| !it.is_empty())?);
    Some(std::path::absolute(&folder).unwrap_or(folder))
}

/// Builds packages, optimised: `arguments` are cargo's, such as `--package kvs-server --bins`. Does
/// nothing where KVS_BIN_DIR names a folder with what is built already. Returns the folder that
/// holds the binaries, and `examples/` in it.
///
/// # Errors
///
/// When cargo is not there or fails.
pub(crate) async fn build(arguments: &[&str]) -> anyhow::Result<PathBuf> {
    let target = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    build_in(&root().join(target), &[&["--quiet"], arguments].concat(), &[]).await
}

/// The same in another target folder, with cargo's progress shown, and with variables added to cargo's environment.
///
/// # Errors
///
/// As [`build`].
pub(crate) async fn build_in(
    target: &Path,
    arguments: &[&str],
    variables: &[(&str, &str)],
) -> anyhow::Result<PathBuf> {
    if let Some(folder) = given_binaries() {
        return Ok(folder);
    }
    let mut cargo = tied::command(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--release", "--locked", "--target-dir"]).arg(target);
    cargo.args(arguments).envs(variables.iter().copied()).current_dir(root());
    let status = cargo.status().await.context("cannot start cargo")?;
    if !status.success() {
        bail!("the build failed; see above");
    }
    Ok(target.join("release"))
}

/// The commit that the working tree is at; `-dirty` behind it if files were changed since, those
/// apart that measurements leave, and a word more if the measured binaries may be of another.
pub(crate) async fn commit() -> String {
    let root = root();
    let git = async |arguments: &[&str]| {
        let output = tied::command("git").arg("-C").arg(&root).args(arguments).output().await;
        let output = output.ok().filter(|output| output.status.success())?;
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let described = git(&["describe", "--always", "--abbrev=10", "--exclude", "*"]).await;
    let mut commit = described.unwrap_or_else(|| "unknown".to_owned());
    let changed =
        git(&["status", "--porcelain", "--", ".", ":!results", ":!images", ":!REPORT.md"]).await;
    if changed.is_some_and(|changed| !changed.is_empty()) {
        commit += "-dirty";
    }
    if given_binaries().is_some() {
        commit += ", binaries from KVS_BIN_DIR";
    }
    commit
}
