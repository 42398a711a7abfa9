//! How hosts are reached: one ssh connection each, which everything goes through.
//!
//! The user's `known_hosts` decides which hosts are trusted, and nothing asks: there may be nobody to
//! answer.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::Command;

use super::end::End;
use super::hosts::Node;
use super::words::{last_line, split, variable};
use crate::tied;

/// For one host's answer, in seconds.
pub(crate) const CONNECT_SECS_MAX: u64 = 10;

/// The same for one that did not answer in time while a run that failed is cleared up.
const CONNECT_SECS_MAX_HURRIED: u64 = 2;

/// A host that is silent so long is gone: three questions, 2 s apart.
const ALIVE: [&str; 4] = ["-o", "ServerAliveInterval=2", "-o", "ServerAliveCountMax=3"];

/// What a host's end of a connection prints once it is there.
const CONNECTED: &str = "connected";

/// The way to all hosts.
#[derive(Debug)]
pub(crate) struct Ssh {
    options: Vec<String>,
    /// Where the connections' sockets and notes lie.
    folder: PathBuf,
    /// Whether a run that failed is cleared up: who does not answer at once is left alone.
    pub(crate) hurries: bool,
}

impl Ssh {
    /// Reads the user's options. `folder` has a short path.
    ///
    /// # Errors
    ///
    /// When there is no ssh.
    pub(crate) fn new(folder: &Path) -> Result<Self, End> {
        let has_ssh =
            |path: &str| path.split(':').any(|part| Path::new(part).join("ssh").is_file());
        if !has_ssh(&variable("PATH")) {
            return Err(End::stop(
                "there is no ssh; install it, e.g. with: sudo apt-get install openssh-client",
            ));
        }
        let fixed = ["-T", "-o", "BatchMode=yes", "-o", "ClearAllForwardings=yes"];
        let mut options: Vec<String> = fixed.map(str::to_owned).to_vec();
        options.extend(split(Some(&variable("KVS_SSH_OPTIONS"))));
        options.extend(["-o".to_owned(), format!("ConnectTimeout={CONNECT_SECS_MAX}")]);
        options.extend(ALIVE.map(str::to_owned));
        Ok(Self { options, folder: folder.to_owned(), hurries: false })
    }

    /// Where the connection's complaints stand.
    pub(crate) fn log(&self, index: usize) -> PathBuf {
        self.folder.join(format!("ssh-{index}.log"))
    }

    fn words(&self, index: usize, node: &Node, master: bool, command: &str) -> Command {
        let mut ssh = tied::command("ssh");
        ssh.arg("-o").arg(if master { "ControlMaster=yes" } else { "ControlMaster=no" });
        if self.hurries {
            ssh.arg("-o").arg(format!("ConnectTimeout={CONNECT_SECS_MAX_HURRIED}"));
        }
        ssh.arg("-o").arg(format!("ControlPath={}/ssh-{index}", self.folder.display()));
        ssh.args(&self.options);
        if let Some(port) = node.ssh_port {
            ssh.args(["-p", &port.to_string()]);
        }
        ssh.args([&node.target, command]);
        ssh
    }

    /// What opens the connection, and keeps it until its input ends.
    pub(crate) fn connection(&self, index: usize, node: &Node) -> Command {
        self.words(index, node, true, &format!("echo {CONNECTED}; exec cat >/dev/null"))
    }

    /// What has the host's shell run the command.
    pub(crate) fn command(&self, index: usize, node: &Node, command: &str) -> Command {
        self.words(index, node, false, command)
    }

    /// Has the host's shell run the command, with `input`; what it prints.
    ///
    /// # Errors
    ///
    /// In one line, why it failed: what the host said last.
    pub(crate) async fn run(
        &self,
        index: usize,
        node: &Node,
        command: &str,
        input: Stdio,
    ) -> Result<String, String> {
        let mut command = self.command(index, node, command);
        let output = command.stdin(input).output().await;
        let output = output.map_err(|error| format!("cannot start ssh: {error}"))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let said = last_line(&String::from_utf8_lossy(&output.stderr));
        let said = said.strip_prefix("error: ").unwrap_or(&said);
        Err(if said.is_empty() { format!("it failed: {}", output.status) } else { said.to_owned() })
    }

    /// Whether the host has answered.
    pub(crate) fn is_connected(&self, index: usize) -> bool {
        let said = std::fs::read_to_string(self.log(index)).unwrap_or_default();
        said.lines().any(|line| line == CONNECTED)
    }

    /// Why there is no connection, and the mend. `source` is what named the host.
    pub(crate) fn why_not(&self, index: usize, node: &Node, source: &str) -> String {
        let said = std::fs::read(self.log(index)).unwrap_or_default();
        why_not(&String::from_utf8_lossy(&said), node, source)
    }
}

fn why_not(said: &str, node: &Node, source: &str) -> String {
    let Node { name, target, ssh_port, .. } = node;
    let said = said.replace('\r', "");
    let telling = |line: &&str| !line.trim().is_empty() && !line.starts_with('@');
    let mut lines = said.lines().rev().filter(|line| *line != CONNECTED);
    let last = lines.find(telling).unwrap_or_default();
    let port = ssh_port.map_or_else(String::new, |port| format!("-p {port} "));
    let by_hand = format!("ssh {port}{target}");
    let host = target.rsplit('@').next().unwrap_or_default();
    if said.contains("IDENTIFICATION HAS CHANGED") {
        format!(
            "{name}: its host key is not the one in known_hosts; if it was installed anew, type: \
             ssh-keygen -R {host}, then {by_hand}"
        )
    } else if said.contains("ost key verification failed") {
        format!(
            "{name}: its host key is not in known_hosts; type {by_hand} once and compare it, or on \
             a testbed of your own: ssh-keyscan -H {port}{host} >>~/.ssh/known_hosts"
        )
    } else if said.contains("ermission denied") {
        format!(
            "{name}: it refuses this user's key ({last}); give it one with: ssh-copy-id \
             {port}{target}, or come with your agent: ssh -A"
        )
    } else if said.contains("ould not resolve") {
        format!("{name}: no host has that name ({last}); correct it in {source}")
    } else {
        let silent = format!("no answer within {} s", 2 * CONNECT_SECS_MAX);
        let last = if last.is_empty() { &silent } else { last };
        format!(
            "{name}: it cannot be reached ({last}); see that it is up and that {by_hand} works, or \
             take it out of {source}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_name_the_mend() {
        let node = Node {
            name: "node3:7".to_owned(),
            target: "me@node3".to_owned(),
            ssh_port: Some(7),
            address: None,
        };
        let why = |said| why_not(said, &node, "KVS_HOSTS");
        let changed = why(
            "@@@@\n@ REMOTE HOST IDENTIFICATION HAS CHANGED! @\nHost key verification failed.\n",
        );
        assert!(
            changed.ends_with("type: ssh-keygen -R node3, then ssh -p 7 me@node3"),
            "{changed}"
        );
        assert!(why("Host key verification failed.\r\n").contains("ssh-keyscan -H -p 7 node3 >>"));
        assert!(
            why("me@node3: Permission denied (publickey).\n").contains("ssh-copy-id -p 7 me@node3")
        );
        let unresolved = why("ssh: Could not resolve hostname node3: Name or service not known\n");
        assert!(unresolved.ends_with("correct it in KVS_HOSTS"), "{unresolved}");
        assert!(why("connected\n").contains("(no answer within 20 s)"));
        assert!(
            why("ssh: connect to host node3 port 7: Connection refused\n")
                .contains("refused); see")
        );
    }
}
