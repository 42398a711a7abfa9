//! The folder that a run leaves behind, and the launcher's own for sockets and notes.

use std::path::{Path, PathBuf};

use jiff::Zoned;
use tempfile::TempDir;

use super::end::End;
use super::words::variable;
use crate::workspace;

/// Where a run's files go.
#[derive(Debug)]
pub(crate) struct Folders {
    /// The run's: `log/<timestamp>`.
    pub(crate) run: PathBuf,
    /// The launcher's own, which goes away with it.
    pub(crate) work: TempDir,
    /// When the launcher began.
    pub(crate) started_unix_ms: u64,
}

impl Folders {
    /// Makes both, and points `latest` at the run's.
    ///
    /// # Errors
    ///
    /// When a folder can't be made, or `latest` not be replaced.
    pub(crate) fn make() -> Result<Self, End> {
        let base = match variable("KVS_LOG_DIR").as_str() {
            "" => workspace::root().join("log"),
            folder => PathBuf::from(folder),
        };
        let base = std::path::absolute(&base).unwrap_or(base);
        let no_folder = |folder: &Path, error: std::io::Error| {
            End::stop(format!(
                "cannot make the folder {}: {error}; set KVS_LOG_DIR to another",
                folder.display()
            ))
        };
        std::fs::create_dir_all(&base).map_err(|error| no_folder(&base, error))?;
        let now = Zoned::now();
        let stamp = now.strftime("%Y%m%d-%H%M%S").to_string();
        let mut name = stamp.clone();
        // A folder is made once, so two runs in one second never share one.
        for number in 2.. {
            let run = base.join(&name);
            match std::fs::create_dir(&run) {
                Ok(()) => break,
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(no_folder(&run, error)),
            }
            name = format!("{stamp}-{number}");
        }
        point_latest(&base, &name).map_err(|error| {
            End::stop(format!(
                "cannot replace {}, which should be a symbolic link: {error}; move it away",
                base.join("latest").display()
            ))
        })?;
        // Sockets lie there, whose paths must be short.
        let work = tempfile::Builder::new().prefix("kvs-").tempdir_in("/tmp").map_err(|error| {
            End::stop(format!("cannot make a folder in /tmp: {error}; make room there"))
        })?;
        let started_unix_ms = now.timestamp().as_millisecond().cast_unsigned();
        Ok(Self { run: base.join(name), work, started_unix_ms })
    }
}

/// Has the link `latest` name the run, whole at every moment.
fn point_latest(base: &Path, run: &str) -> std::io::Result<()> {
    let new = base.join(format!(".latest.{}", std::process::id()));
    std::os::unix::fs::symlink(run, &new)?;
    std::fs::rename(&new, base.join("latest")).inspect_err(|_| drop(std::fs::remove_file(&new)))
}
