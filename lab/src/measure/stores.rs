//! Stores on this machine, ours, Redis and memcached, and clients that drive them.
//!
//! Each takes a port that is free, and is waited for until it serves. A store ends when its handle
//! is dropped, and with this program.

use std::ffi::{OsStr, OsString};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, ensure};
use report::result::RunResult;
use tempfile::{NamedTempFile, TempDir};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::unix::pipe::Receiver;
use tokio::process::{Child, Command};
use tokio::time::{Instant, timeout};

use super::redis;
use crate::{tied, workspace};

/// How long a store may take to start.
const START_TIMEOUT: Duration = Duration::from_secs(20);

/// How often a store that says nothing is looked at while it starts.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// Redis can't ask the system for a port, so it is told a free one, which another may take first.
const REDIS_ATTEMPTS: u32 = 8;

/// What starts stores and clients.
pub(crate) struct Stores {
    programs: PathBuf,
    scratch: TempDir,
}

/// A running store.
pub(crate) struct Store {
    /// Where clients find it: `host:port` for ours, `redis://..` or `memcached://..`.
    pub(crate) url: String,
    process: Child,
}

impl Stores {
    /// Builds kvs-server and kvs-client, optimised, unless KVS_BIN_DIR names a folder with them.
    ///
    /// # Errors
    ///
    /// When the build fails or they are not there.
    pub(crate) async fn build() -> anyhow::Result<Self> {
        let packages = ["--package", "kvs-server", "--package", "kvs-client", "--bins"];
        let programs = workspace::build(&packages).await?;
        let stores = Self { programs, scratch: tempfile::tempdir()? };
        stores.program("kvs-server")?;
        stores.program("kvs-client")?;
        Ok(stores)
    }

    /// An example of a package, built likewise.
    ///
    /// # Errors
    ///
    /// When the build fails or it is not there.
    pub(crate) async fn example(&self, package: &str, name: &str) -> anyhow::Result<PathBuf> {
        workspace::build(&["--package", package, "--example", name]).await?;
        self.program(&format!("examples/{name}"))
    }

    /// A program that was built.
    pub(crate) fn program(&self, name: &str) -> anyhow::Result<PathBuf> {
        let program = self.programs.join(name);
        let folder = self.programs.display();
        ensure!(program.is_file(), "there is no {name} in {folder}; KVS_BIN_DIR names the folder");
        Ok(program)
    }

    /// A folder that goes away with this.
    pub(crate) fn scratch(&self) -> &Path {
        self.scratch.path()
    }

    /// One of our servers.
    ///
    /// # Errors
    ///
    /// When it ends before it serves, with the last line that it printed; so with the others below.
    pub(crate) async fn ours(&self, flags: &[&str]) -> anyhow::Result<Store> {
        self.server(&self.program("kvs-server")?, flags).await
    }

    /// A server with another program in kvs-server's place.
    pub(crate) async fn server(&self, program: &Path, flags: &[&str]) -> anyhow::Result<Store> {
        let command = |file: &Path| {
            let mut server = tied::command(program);
            server.args(["-listen", "127.0.0.1", "-port", "0", "-port_file"]).arg(file).args(flags);
            server
        };
        self.with_port_file("kvs-server", "", command).await
    }

    /// A Redis server that keeps nothing on disk.
    pub(crate) async fn redis(&self) -> anyhow::Result<Store> {
        let mut failed = None;
        for _ in 0..REDIS_ATTEMPTS {
            let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
            let mut server = tied::command("redis-server");
            server.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""]);
            server.args(["--appendonly", "no", "--daemonize", "no", "--dir"]).arg(self.scratch());
            let url = format!("redis://127.0.0.1:{port}");
            let serves = |line: &str| {
                line.to_lowercase().contains("ready to accept connections").then(|| url.clone())
            };
            match Store::start(server, "redis-server", serves).await {
                Ok(store) => {
                    redis::ask(port, "PING").await?;
                    return Ok(store);
                }
                Err(error) => failed = Some(error),
            }
        }
        Err(failed.expect("it was tried"))
    }

    /// A memcached server with 3 GiB. As root it stays root, because it must write the file with
    /// its port.
    pub(crate) async fn memcached(&self) -> anyhow::Result<Store> {
        let command = |file: &Path| {
            let mut server = tied::command("memcached");
            server.args(["-l", "127.0.0.1", "-p", "-1", "-U", "0", "-m", "3072"]);
            if rustix::process::geteuid().is_root() {
                server.args(["-u", "root"]);
            }
            server.env("MEMCACHED_PORT_FILENAME", file);
            server
        };
        let store = self.with_port_file("memcached", "TCP INET: ", command).await?;
        Ok(Store { url: format!("memcached://{}", store.url), ..store })
    }

    /// A store that writes its port to a file, which its command is made for, behind `label`.
    pub(crate) async fn with_port_file(
        &self,
        name: &str,
        label: &str,
        command: impl FnOnce(&Path) -> Command,
    ) -> anyhow::Result<Store> {
        let file = NamedTempFile::new_in(self.scratch())?.into_temp_path();
        let serves = |_: &str| Some(format!("127.0.0.1:{}", port_in(&file, label)?));
        Store::start(command(&file), name, serves).await
    }

    /// Drives the store at `url`, as [`Store::url`] or one of `-hosts`, with kvs-client. It is
    /// started at once, and ends when what is returned does, which waits for it.
    ///
    /// # Errors
    ///
    /// When it fails, with its flags and the last line that it printed, or leaves no result.
    pub(crate) fn client(
        &self,
        url: &str,
        flags: impl IntoIterator<Item = impl AsRef<OsStr>>,
    ) -> Pin<Box<dyn Future<Output = anyhow::Result<RunResult>>>> {
        let target = if url.contains("://") { "-target" } else { "-hosts" };
        let mut words = vec![OsString::from(target), url.into()];
        words.extend(flags.into_iter().map(|flag| flag.as_ref().to_owned()));
        let started = NamedTempFile::new_in(self.scratch()).map_err(anyhow::Error::from);
        let started = started.and_then(|json| {
            let mut client = tied::command(self.program("kvs-client")?);
            client.args(&words).arg("-json").arg(json.path()).stdin(Stdio::null());
            let process = client.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
            Ok((json, process))
        });
        Box::pin(async move {
            let words = words.join(" ".as_ref());
            let (json, process) = started.context("cannot start kvs-client")?;
            let output = process.wait_with_output().await?;
            let told = String::from_utf8_lossy(&output.stderr);
            let last = told.lines().last().unwrap_or_default();
            ensure!(output.status.success(), "kvs-client {} failed: {last}", words.display());
            Ok(RunResult::read(json.path())?)
        })
    }
}

impl Store {
    /// Starts a store and waits until it serves, which `serves` tells by the store's URL. It is
    /// given each line that the store prints, and none from time to time.
    async fn start(
        mut command: Command,
        name: &str,
        mut serves: impl FnMut(&str) -> Option<String>,
    ) -> anyhow::Result<Self> {
        let (reader, writer) = std::io::pipe()?;
        command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
        let process = command.spawn().with_context(|| format!("cannot start {name}"))?;
        // It holds the pipe's other end, which has to close when the store ends.
        drop(command);
        let mut lines = BufReader::new(Receiver::from_owned_fd(reader.into())?).lines();
        let (mut last, deadline) = (String::new(), Instant::now() + START_TIMEOUT);
        let url = loop {
            let printed = match timeout(LOOK_INTERVAL, lines.next_line()).await {
                Ok(line) => line?.with_context(|| format!("{name} ended: {last}"))?,
                Err(_) => String::new(),
            };
            if let Some(url) = serves(&printed) {
                break url;
            }
            if !printed.is_empty() {
                last = printed;
            }
            ensure!(Instant::now() < deadline, "{name} does not start: {last}");
        };
        // What it prints from now on is of no interest, but has to be taken from it.
        let mut rest = lines.into_inner();
        tokio::spawn(async move { tokio::io::copy(&mut rest, &mut tokio::io::sink()).await });
        Ok(Self { url, process })
    }

    /// Its port on this machine.
    pub(crate) fn port(&self) -> u16 {
        let port = self.url.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
        port.expect("a store's URL ends with its port")
    }

    /// Bytes of its resident memory.
    ///
    /// # Errors
    ///
    /// When it has ended.
    pub(crate) fn resident_bytes(&self) -> anyhow::Result<u64> {
        let id = self.process.id().context("the server has ended")?;
        let status = std::fs::read_to_string(format!("/proc/{id}/status"))?;
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = resident.and_then(|text| text.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        Ok(1024 * kib.context("the server has ended")?)
    }
}

/// The port that a store wrote to a file, behind `label`, once its line is whole.
fn port_in(file: &Path, label: &str) -> Option<u16> {
    let text = std::fs::read_to_string(file).ok()?;
    let mut lines = text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
    lines.find_map(|line| line.strip_prefix(label)?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Starts a script as a store that serves when it prints `at URL`.
    fn started(script: &str) -> anyhow::Result<Store> {
        let mut command = Command::new("sh");
        command.args(["-c", script]).kill_on_drop(true);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(Store::start(command, "store", |line| {
            line.strip_prefix("at ").map(str::to_owned)
        }))
    }

    #[test]
    fn a_store_that_serves_has_its_url() {
        let store = started("echo begins; echo at tcp://127.0.0.1:4711; exec sleep 100").unwrap();
        assert_eq!((&*store.url, store.port()), ("tcp://127.0.0.1:4711", 4711));
        assert!(store.resident_bytes().unwrap() > 0);
    }

    #[test]
    fn a_store_that_ends_early_fails_with_its_last_line() {
        for script in ["echo begins; echo 'no room' >&2", "echo 'no room'; exit 1"] {
            let Err(error) = started(script) else { panic!("{script} does not serve") };
            assert_eq!(error.to_string(), "store ended: no room");
        }
        let Err(error) = started("exec true") else { panic!("it does not serve") };
        assert_eq!(error.to_string(), "store ended: ");
    }

    #[test]
    fn ports_are_read_when_their_line_is_whole() {
        let file = NamedTempFile::new().unwrap();
        for (text, label, port) in [
            ("4711\n", "", Some(4711)),
            ("4711", "", None),
            ("", "", None),
            ("UDP INET: 1\nTCP INET: 4711\n", "TCP INET: ", Some(4711)),
            ("UDP INET: 1\nTCP INET: 47", "TCP INET: ", None),
            ("TCP INET: 99999\n", "TCP INET: ", None),
        ] {
            std::fs::write(file.path(), text).unwrap();
            assert_eq!(port_in(file.path(), label), port, "{text:?}");
        }
        assert_eq!(port_in(Path::new("/nowhere/port"), ""), None);
    }
}
