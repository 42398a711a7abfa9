//! The processes of a run: each in a process group of its own, started, watched and stopped by its
//! number. One on another host is the ssh that leads to it: what it writes arrives in its log here,
//! and it is told what to do through its standard input. All end with the launcher, however that
//! ends.

use std::fs::File;
use std::future::poll_fn;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::{ExitStatus, Stdio};
use std::task::Poll;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::mpsc;
use tokio::time::{Instant, interval, timeout, timeout_at};

use super::end::{End, signal_name};
use super::logs;
use crate::node::keeper;

/// How often another host hears that the launcher is there.
const BEAT: Duration = Duration::from_secs(1);

/// The most orders that wait to be sent to another host.
const ORDERS_MAX: usize = 16;

/// What a process is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The connection to a host.
    Connection,
    /// A kvs-server.
    Server,
    /// A kvs-client.
    Client,
    /// A kvs-check.
    Checker,
}

/// A process that was started.
#[derive(Debug)]
struct Process {
    kind: Kind,
    /// `kvs-server 1`, or `kvs-server 1 on node0`.
    name: String,
    log: PathBuf,
    child: Child,
    group: Pid,
    /// How it ended, once it has.
    status: Option<ExitStatus>,
    /// Where orders go for one on another host; closed, it ends.
    orders: Option<mpsc::Sender<String>>,
}

/// All that were started, in that order.
#[derive(Debug, Default)]
pub(crate) struct Processes {
    list: Vec<Process>,
}

impl Processes {
    /// Starts a command, which must be tied to this process, with its output in `log`. With `first`
    /// it is fed: that line, and then one each second.
    ///
    /// # Errors
    ///
    /// When the log can't be made, or the command not be started.
    pub(crate) fn start(
        &mut self,
        kind: Kind,
        name: String,
        log: PathBuf,
        mut command: Command,
        first: Option<String>,
    ) -> Result<(), End> {
        let file = File::create(&log).and_then(|file| Ok((file.try_clone()?, file)));
        let (out, err) =
            file.map_err(|error| End::failed(format!("cannot write {}: {error}", log.display())))?;
        command.stdin(if first.is_some() { Stdio::piped() } else { Stdio::null() });
        command.stdout(out).stderr(err).process_group(0);
        let started = command.spawn();
        let mut child =
            started.map_err(|error| End::failed(format!("cannot start {name}: {error}")))?;
        let group = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        let group = group.expect("a child that was not waited for has a number");
        let orders = first.map(|first| {
            let (orders, queue) = mpsc::channel(ORDERS_MAX);
            let input = child.stdin.take().expect("its input is a pipe");
            tokio::spawn(feed(input, first, queue));
            orders
        });
        self.list.push(Process { kind, name, log, child, group, status: None, orders });
        Ok(())
    }

    /// Waits until a process has ended that had not before; for ever if none runs.
    pub(crate) async fn one_ends(&mut self) {
        poll_fn(|context| {
            let mut ended = false;
            for process in self.list.iter_mut().filter(|process| process.status.is_none()) {
                if let Poll::Ready(status) = pin!(process.child.wait()).poll(context) {
                    // A child that can't be waited for is as good as killed.
                    process.status = Some(status.unwrap_or_else(|_| ExitStatus::from_raw(9)));
                    process.orders = None;
                    ended = true;
                }
            }
            if ended { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// Whether any of this kind still runs.
    pub(crate) fn running(&self, kind: Kind) -> bool {
        self.list.iter().any(|process| process.kind == kind && process.status.is_none())
    }

    /// Waits until none of this kind runs any more.
    async fn all_end(&mut self, kind: Kind) {
        while self.running(kind) {
            self.one_ends().await;
        }
    }

    /// Asks all of this kind to end, and kills what is left when the time is over. Whether none had
    /// to be killed.
    pub(crate) async fn stop(&mut self, kind: Kind, signal: Signal, time_max: Duration) -> bool {
        let deadline = Instant::now() + time_max;
        self.signal(kind, signal);
        if timeout_at(deadline, self.all_end(kind)).await.is_ok() {
            return true;
        }
        self.signal(kind, Signal::KILL);
        self.all_end(kind).await;
        false
    }

    /// Sends a signal to the group of each that runs. On another host the process itself gets it, but
    /// for SIGKILL: there the ssh ends, and with it the process.
    fn signal(&self, kind: Kind, signal: Signal) {
        for process in self.list.iter().filter(|process| process.status.is_none()) {
            if process.kind != kind {
                continue;
            }
            match &process.orders {
                Some(orders) if signal != Signal::KILL => {
                    // A host that takes no more orders is told by its silence.
                    let _ = orders.try_send(signal_name(signal.as_raw()));
                }
                // It may have ended since it was last looked at.
                _ => drop(kill_process_group(process.group, signal)),
            }
        }
    }

    /// Closes the connections; what still ran over them ends.
    pub(crate) async fn disconnect(&mut self, time_max: Duration) {
        for process in self.list.iter_mut().filter(|process| process.kind == Kind::Connection) {
            process.orders = None;
        }
        if timeout(time_max, self.all_end(Kind::Connection)).await.is_err() {
            self.signal(Kind::Connection, Signal::KILL);
        }
    }

    /// Kills all but the connections.
    pub(crate) async fn kill(&mut self) {
        for kind in [Kind::Client, Kind::Server, Kind::Checker] {
            self.signal(kind, Signal::KILL);
            self.all_end(kind).await;
        }
    }

    /// How those ended that should not have: a client with a status, anything else at all.
    pub(crate) fn failures(&self) -> Vec<String> {
        let failed = |process: &&Process| {
            let status = process.status.filter(|_| process.kind != Kind::Checker);
            status.is_some_and(|status| process.kind != Kind::Client || !status.success())
        };
        self.list.iter().filter(failed).map(how_it_ended).collect()
    }

    /// How those ended that had been asked to and did so with a status.
    pub(crate) fn unclean(&self) -> Vec<String> {
        let unclean = |process: &&Process| {
            process.kind != Kind::Connection && process.status.is_some_and(|s| !s.success())
        };
        self.list.iter().filter(unclean).map(how_it_ended).collect()
    }

    /// The exit status of the last one that was started, and how it ended in words.
    pub(crate) fn last(&self) -> (Option<i32>, String) {
        let last = self.list.last().expect("one was started");
        (last.status.and_then(|status| status.code()), how_it_ended(last))
    }

    /// Whether the connection that was started as the `index`th, from 0, has ended.
    pub(crate) fn connection_ended(&self, index: usize) -> bool {
        let mut connections = self.list.iter().filter(|process| process.kind == Kind::Connection);
        connections.nth(index).is_none_or(|process| process.status.is_some())
    }
}

/// Writes orders to a host, and a line each second, until it or the launcher ends.
async fn feed(mut input: ChildStdin, first: String, mut orders: mpsc::Receiver<String>) {
    let mut line = first;
    let mut beat = interval(BEAT);
    loop {
        line.push('\n');
        if input.write_all(line.as_bytes()).await.is_err() {
            return;
        }
        line = tokio::select! {
            order = orders.recv() => match order {
                Some(order) => order,
                None => return,
            },
            _ = beat.tick() => String::new(),
        };
    }
}

fn how_it_ended(process: &Process) -> String {
    let status = process.status.unwrap_or_default();
    let ended = if process.orders_went_by_ssh() { how_ssh_ended(status) } else { in_words(status) };
    let why = logs::last_error(&process.log).map_or_else(String::new, |why| format!(": {why}"));
    format!("{} {ended}{why}; see {}", process.name, short_path(&process.log))
}

impl Process {
    /// Whether it is the ssh to a process on another host.
    fn orders_went_by_ssh(&self) -> bool {
        self.kind == Kind::Connection || self.name.contains(" on ")
    }
}

/// What ssh's end tells of the process that it led to.
fn how_ssh_ended(status: ExitStatus) -> String {
    /// What ssh ends with when its connection broke.
    const LOST: i32 = 255;
    match (status.code(), status.signal()) {
        (Some(LOST), _) => "lost its ssh connection: the host or the network went away".to_owned(),
        (Some(code), _) if code > keeper::KILLED => {
            in_words(ExitStatus::from_raw(code - keeper::KILLED))
        }
        (None, Some(_)) => format!("lost its ssh connection, which {}", in_words(status)),
        _ => in_words(status),
    }
}

/// The end of a process in words.
fn in_words(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (_, Some(signal)) => format!("was killed by {}", signal_name(signal)),
        (Some(0) | None, None) => "ended before its time".to_owned(),
        (Some(code), None) => format!("failed with status {code}"),
    }
}

/// The path relative to where the user is, if it lies below.
pub(crate) fn short_path(path: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(&here).unwrap_or(path).display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_told_in_words() {
        let exited = |code: i32| ExitStatus::from_raw(code << 8);
        assert_eq!(in_words(exited(0)), "ended before its time");
        assert_eq!(in_words(exited(2)), "failed with status 2");
        assert_eq!(in_words(ExitStatus::from_raw(9)), "was killed by SIGKILL");
        assert!(how_ssh_ended(exited(255)).starts_with("lost its ssh connection: the host"));
        assert_eq!(how_ssh_ended(exited(192 + 9)), "was killed by SIGKILL");
        assert_eq!(how_ssh_ended(exited(2)), "failed with status 2");
        assert_eq!(
            how_ssh_ended(ExitStatus::from_raw(15)),
            "lost its ssh connection, which was killed by SIGTERM"
        );
    }
}
