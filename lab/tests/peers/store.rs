//! Redis and memcached servers that live as long as a test.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use crate::harness::process::is_gone;
use crate::harness::{Bed, Running, ends, read, wait_until};

/// Ports that are tried for a Redis.
const PORTS_MAX: usize = 8;

/// A store that runs.
pub(crate) trait Store: Sized {
    /// Starts an empty one.
    fn start(bed: &Bed) -> Self;

    /// Host and port.
    fn address(&self) -> String;

    /// What `-target` takes.
    fn url(&self) -> String;

    /// How many operations it has been asked for.
    fn commands(&self) -> u64;

    /// Removes all keys.
    fn flush(&self);

    /// Overwrites the keys from 0 up to `keys`.
    fn tamper(&self, keys: usize);
}

/// A Redis that keeps nothing on disk.
pub(crate) struct Redis {
    port: u16,
    client: redis::Client,
    _process: Running,
}

impl Redis {
    /// From now on it asks for the password.
    pub(crate) fn require(&self, password: &str) {
        self.ask(redis::cmd("CONFIG").arg("SET").arg("requirepass").arg(password));
    }

    fn ask(&self, command: &redis::Cmd) {
        command.exec(&mut self.client.get_connection().unwrap()).unwrap();
    }

    /// It at that port; `None` if it ended without having listened, as when the port is taken.
    fn at(bed: &Bed, port: u16) -> Option<Self> {
        let folder = bed.path("");
        let flags = format!("--port {port} --bind 127.0.0.1 --appendonly no --daemonize no --dir");
        let mut arguments: Vec<&str> = flags.split_whitespace().collect();
        arguments.extend([folder.to_str().unwrap(), "--save", ""]);
        let process = bed.program("redis-server", arguments).start();
        // What answers at the port may be whoever has taken it.
        let listens = || process.output().out.contains("eady to accept connections");
        assert!(ends(|| listens() || is_gone(process.id())), "redis-server does not start");
        let client = redis::Client::open(format!("redis://127.0.0.1:{port}")).unwrap();
        listens().then_some(Self { port, client, _process: process })
    }
}

impl Store for Redis {
    /// Redis can't ask the system for a port, so it gets one that was free a moment ago.
    fn start(bed: &Bed) -> Self {
        let free = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut attempts = (0..PORTS_MAX).map(|_| Self::at(bed, free()));
        attempts.find_map(|attempt| attempt).expect("redis-server ended whenever it was started")
    }

    fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    fn url(&self) -> String {
        format!("redis://{}", self.address())
    }

    fn commands(&self) -> u64 {
        let mut connection = self.client.get_connection().unwrap();
        let stats: redis::InfoDict =
            redis::cmd("INFO").arg("stats").query(&mut connection).unwrap();
        stats.get("total_commands_processed").expect("Redis counts commands")
    }

    fn flush(&self) {
        self.ask(&redis::cmd("FLUSHALL"));
    }

    fn tamper(&self, keys: usize) {
        let mut sets = redis::pipe();
        (0..keys).for_each(|key| _ = sets.set(key, "tampered"));
        sets.exec(&mut self.client.get_connection().unwrap()).unwrap();
    }
}

/// A memcached.
pub(crate) struct Memcached {
    port: u16,
    _process: Running,
}

impl Memcached {
    /// Sends lines and returns what it answers.
    fn say(&self, lines: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.write_all(format!("{lines}\r\nquit\r\n").as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }
}

impl Store for Memcached {
    fn start(bed: &Bed) -> Self {
        let port_file = bed.path("memcached-port");
        let mut flags = "-l 127.0.0.1 -p -1 -U 0 -m 3072".to_owned();
        if rustix::process::geteuid().is_root() {
            // It stays root, because it must write the file with its port.
            flags += " -u root";
        }
        let launch = bed.program("memcached", flags.split_whitespace());
        let process = launch.env("MEMCACHED_PORT_FILENAME", &port_file).start();
        let mut port = None;
        wait_until("memcached's port", || {
            assert!(!is_gone(process.id()), "memcached ended");
            let told = read(&port_file);
            let line = told.split_inclusive('\n').find(|line| line.ends_with('\n'));
            port = line.and_then(|line| line.trim().strip_prefix("TCP INET: ")?.parse().ok());
            port.is_some()
        });
        Self { port: port.unwrap(), _process: process }
    }

    fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    fn url(&self) -> String {
        format!("memcached://{}", self.address())
    }

    fn commands(&self) -> u64 {
        let stats = self.say("stats");
        let counts = ["STAT cmd_get ", "STAT cmd_set "];
        let count = |line: &str| {
            let count = counts.iter().find_map(|name| line.strip_prefix(name))?;
            count.parse::<u64>().ok()
        };
        stats.lines().filter_map(count).sum()
    }

    fn flush(&self) {
        assert!(self.say("flush_all").starts_with("OK"), "memcached flushes");
    }

    fn tamper(&self, keys: usize) {
        let sets = (0..keys).map(|key| format!("set {key} 0 0 8\r\ntampered"));
        let answer = self.say(&sets.collect::<Vec<_>>().join("\r\n"));
        assert_eq!(answer.matches("STORED").count(), keys, "{answer}");
    }
}
