//! Hosts for the tests, which scripts/test-hosts makes on this machine as long as somebody wants
//! them: a program keeps them that ends, and takes them along, when its input does.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;

use regex::Regex;
use rustix::process::Pid;

use super::process::children;
use super::{Bed, root};

/// Makes $1 hosts, says so, and removes them with the folder $2 when nobody holds the input open.
const KEEP: &str = "trap '' INT TERM HUP
    scripts/test-hosts up \"$1\" && echo up && cat >/dev/null
    scripts/test-hosts down
    rm -rf -- \"$2\"";

/// Some hosts: node0, node1 and on.
pub(crate) struct Hosts {
    /// What is known of them.
    pub(crate) state: PathBuf,
    /// Which of this machine's test hosts they are: their addresses are 10.77.number.index+1, and
    /// fd77:number::index+1.
    pub(crate) number: String,
    /// What the launcher is told of them.
    environment: Vec<(String, String)>,
    namespaces: Vec<PathBuf>,
    keeper: Mutex<Child>,
}

impl Hosts {
    /// Why no hosts can be made here, if so.
    pub(crate) fn why_not() -> Option<String> {
        let check = root().join("scripts/test-hosts");
        let output = Command::new(check).arg("check").output().unwrap();
        let why = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        (!output.status.success()).then_some(why)
    }

    /// Makes so many.
    pub(crate) fn up(count: usize) -> Self {
        let folder = tempfile::Builder::new().prefix("kvs-test-hosts-").tempdir().unwrap().keep();
        let state = folder.join("hosts");
        let mut keeper = Command::new("sh")
            .args(["-c", KEEP, "sh", &count.to_string()])
            .arg(&folder)
            .env("KVS_TEST_HOSTS_DIR", &state)
            .current_dir(root())
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(keeper.stdout.take().unwrap()).lines().map(Result::unwrap);
        let lines: Vec<String> = lines.take_while(|line| line != "up").collect();
        let variables = lines.iter().filter_map(|line| {
            let (name, value) = line.strip_prefix("export ")?.split_once('=')?;
            Some((name.to_owned(), value.trim_matches('\'').to_owned()))
        });
        let environment: Vec<_> = variables.collect();
        assert!(environment.len() == 2, "no hosts could be made: {}", lines.join("\n"));
        let number = fs::read_to_string(state.join("number")).unwrap().trim().to_owned();
        let mut hosts =
            Self { state, number, environment, namespaces: Vec::new(), keeper: Mutex::new(keeper) };
        let namespace =
            |host| fs::read_link(format!("/proc/{}/ns/net", hosts.first(host))).unwrap();
        hosts.namespaces = (0..count).map(namespace).collect();
        hosts
    }

    /// Has the bed's programs run on them.
    pub(crate) fn make(&self, bed: &mut Bed) {
        bed.environment.extend(self.environment.iter().cloned());
        bed.namespaces.clone_from(&self.namespaces);
    }

    /// The options that lead ssh there.
    pub(crate) fn ssh_options(&self) -> &str {
        let found = self.environment.iter().find(|(name, _)| name == "KVS_SSH_OPTIONS");
        &found.unwrap().1
    }

    /// The host's address.
    pub(crate) fn address(&self, host: usize) -> String {
        format!("10.77.{}.{}", self.number, host + 1)
    }

    /// The host's address of IPv6, if it has one.
    pub(crate) fn address_6(&self, host: usize) -> Option<String> {
        let address = format!("fd77:{}::{}", self.number, host + 1);
        self.on(host, ["ip", "-o", "-6", "address"]).contains(&address).then_some(address)
    }

    /// Runs a command on a host, which must succeed; returns what it wrote to stdout.
    #[track_caller]
    pub(crate) fn on<S: AsRef<OsStr>>(
        &self,
        host: usize,
        command: impl IntoIterator<Item = S>,
    ) -> String {
        let output = Command::new("scripts/test-hosts")
            .args(["on", &host.to_string()])
            .args(command)
            .env("KVS_TEST_HOSTS_DIR", &self.state)
            .current_dir(root())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "on host {host}: {} {error}", output.status);
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// The number, on the host, of the process there whose command line matches, and its parent's.
    #[track_caller]
    pub(crate) fn process(&self, host: usize, pattern: &str) -> (String, String) {
        let regex = Regex::new(pattern).unwrap();
        let all = self.on(host, ["ps", "-eo", "pid=,ppid=,args="]);
        for line in all.lines() {
            let (id, rest) = line.trim().split_once(' ').unwrap();
            let (parent, arguments) = rest.trim().split_once(' ').unwrap();
            if regex.is_match(arguments) {
                return (id.to_owned(), parent.to_owned());
            }
        }
        panic!("host {host} has no process like {pattern}:\n{all}");
    }

    /// The host's first process, as numbered on this machine: when it ends, all others there do.
    pub(crate) fn init(&self, host: usize) -> Pid {
        children(Pid::from_raw(self.first(host)).unwrap())[0].id
    }

    fn first(&self, host: usize) -> i32 {
        let id = fs::read_to_string(self.state.join(format!("node{host}/pid"))).unwrap();
        id.trim().parse().unwrap()
    }

    /// Removes them; returns what is left.
    pub(crate) fn down(&self) -> String {
        let mut keeper = self.keeper.lock().unwrap();
        drop(keeper.stdin.take());
        keeper.wait().unwrap();
        let list = Command::new("ip").args(["netns", "list"]).output().unwrap();
        let prefix = format!("kvs{}-node", self.number);
        let list = String::from_utf8_lossy(&list.stdout).into_owned();
        list.lines().filter(|line| line.starts_with(&prefix)).collect()
    }
}
