//! The program as its users see it: lines, files, signals, exit codes.

use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

fn command(line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kvs-server"));
    command.args(line.split_whitespace()).env_remove("RUST_LOG").stderr(Stdio::piped());
    command
}

/// A server that has said where it listens.
struct Server {
    child: Child,
    stdout: BufReader<ChildStdout>,
    first_line: String,
}

impl Server {
    fn start(line: &str) -> Self {
        let line = format!("-listen 127.0.0.1 -port 0 {line}");
        let mut child = command(&line).stdout(Stdio::piped()).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut first_line = String::new();
        stdout.read_line(&mut first_line).unwrap();
        Self { child, stdout, first_line: first_line.trim_end().to_owned() }
    }

    /// The words of the first line that follow `name`.
    fn told(&self, name: &str) -> &str {
        let mut words = self.first_line.split(' ');
        words.find(|word| *word == name).expect("the first line has this word");
        words.next().expect("a value follows")
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line.trim_end_matches('\n').to_owned()
    }

    /// The rest of stdout, stderr, and the exit code.
    fn end(mut self) -> (String, String, Option<i32>) {
        let (mut out, mut err) = (String::new(), String::new());
        self.stdout.read_to_string(&mut out).unwrap();
        self.child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
        (out, err, self.child.wait().unwrap().code())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn send_signal(child: &Child, signal: &str) {
    let sent = Command::new("kill").args(["-s", signal, &child.id().to_string()]).status();
    assert!(sent.unwrap().success());
}

/// Runs to the end, which comes by itself.
fn run(line: &str) -> Output {
    command(line).output().unwrap()
}

/// The only line on stderr of a program that failed with this code.
fn only_line(output: &Output, code: i32) -> String {
    let text = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(output.status.code(), Some(code), "{text}");
    let line = text.strip_suffix('\n').expect("a whole line");
    assert!(line.starts_with("kvs-server: ") && !line.contains('\n'), "{text}");
    line.to_owned()
}

/// A path in the temporary directory that no other test uses, removed at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("kvs-process-{}-{number}", std::process::id());
        Self(std::env::temp_dir().join(name))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn the_first_line_tells_who_listens_where() {
    for threads in ["1", "2"] {
        let place = format!("-shard 2/3 -store mutex -threads {threads}");
        let server = Server::start(&place);
        assert_eq!((server.told("shard"), server.told("store")), ("2/3", "mutex"));
        assert_eq!((server.told("partitions"), server.told("threads")), ("1", threads));
        let boot = server.told("boot");
        assert!(boot.len() == 16 && u64::from_str_radix(boot, 16).is_ok(), "{boot}");
        TcpStream::connect(server.told("on")).unwrap();
    }
}

#[test]
fn the_port_file_holds_the_ports() {
    let path = Scratch::new();
    let port_file = path.0.display();
    let server = Server::start(&format!("-listen 127.0.0.1,127.0.0.1 -port_file {port_file}"));
    let ports = std::fs::read_to_string(&path.0).unwrap();
    let expected: String = server
        .told("on")
        .split(',')
        .map(|address| format!("{}\n", address.rsplit_once(':').unwrap().1))
        .collect();
    assert_eq!(ports, expected);
    let error = run("-listen 127.0.0.1 -port 0 -port_file /absent/port");
    assert!(only_line(&error, 1).contains("cannot write -port_file /absent/port"));
}

#[test]
fn a_port_in_use_is_said_in_one_line() {
    let server = Server::start("");
    let address = server.told("on");
    let port = address.rsplit_once(':').unwrap().1;
    let line = only_line(&run(&format!("-listen 127.0.0.1 -port {port}")), 1);
    let expected = format!(
        "kvs-server: cannot listen on {address}: address already in use; choose another with \
         -port, or stop the process that holds it"
    );
    assert_eq!(line, expected);
}

/// However many connections go wrong, the log has about a line a second, and says how many it left
/// out.
#[test]
fn connections_that_go_wrong_do_not_fill_the_log() {
    const BAD: u64 = 300;
    let server = Server::start("");
    for _ in 0..BAD {
        let mut peer = TcpStream::connect(server.told("on")).unwrap();
        peer.write_all(&[0; 16]).unwrap();
        let mut told = Vec::new();
        peer.read_to_end(&mut told).unwrap();
        assert!(!told.is_empty(), "it is told what was wrong");
    }
    send_signal(&server.child, "TERM");
    let (_, log, code) = server.end();
    assert_eq!(code, Some(0), "{log}");
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("protocol version")).collect();
    let number = |line: &str| -> u64 {
        let rest = line.split_once("suppressed=").expect("it says how many it left out").1;
        rest.split(' ').next().unwrap().parse().unwrap()
    };
    let suppressed: u64 = log.lines().filter(|line| line.contains("suppressed=")).map(number).sum();
    assert_eq!(lines.len() as u64 + suppressed, BAD, "{log}");
    assert!(!lines.is_empty() && suppressed > 0, "{log}");
}

#[test]
fn wrong_flags_are_said_in_one_line() {
    for (flags, said) in [
        ("-prot 1", "unknown flag -prot; did you mean -port? (-help lists all)"),
        ("-shard 3/2", "INDEX/COUNT"),
        ("-partitions 4097", "1..=4096"),
        ("-listen 127.0.0.1:80", "give it with -port"),
    ] {
        let line = only_line(&run(flags), 2);
        assert!(line.contains(said), "{line}");
    }
    let help = run("-help");
    assert!(help.status.success() && help.stderr.is_empty());
    assert!(String::from_utf8(help.stdout).unwrap().contains("\n  -connections_max <N>\n"));
}

#[test]
fn a_wrong_log_filter_is_said_in_one_line() {
    let output = command("-listen 127.0.0.1 -port 0").env("RUST_LOG", "kvs=loud").output();
    let line = only_line(&output.unwrap(), 1);
    assert!(line.contains("RUST_LOG=kvs=loud") && line.contains("write e.g. RUST_LOG="), "{line}");
}

#[test]
fn every_interval_has_its_lines() {
    let mut server = Server::start("-stats_secs 0.02");
    for _ in 0..2 {
        let lines: [String; 5] = std::array::from_fn(|_| server.line());
        assert_eq!(lines[..4], ["get/s 0.00", "put/s 0.00", "ops/s 0.00", ""]);
        let stats = lines[4].strip_prefix("stats ").expect("the structured line");
        let stats: serde_json::Value = serde_json::from_str(stats).unwrap();
        assert_eq!(stats["operations"], 0);
        assert!(stats["resident_bytes"].as_u64().unwrap() > 0, "{stats}");
        assert!(stats["cores_percent"].is_array() && stats["network"].is_array(), "{stats}");
    }
}

#[test]
fn signals_end_it_with_its_totals() {
    for signal in ["TERM", "INT"] {
        let socket = Scratch::new();
        let server = Server::start(&format!("-listen 127.0.0.1,unix:{}", socket.0.display()));
        let mut peer = TcpStream::connect(server.told("on").split(',').next().unwrap()).unwrap();
        send_signal(&server.child, signal);
        assert_eq!(peer.read(&mut [0]).unwrap_or(0), 0, "the peer is told by a closed connection");
        // Until it closes too, it might still have something to say.
        drop(peer);
        let (out, err, code) = server.end();
        assert_eq!(code, Some(0), "{err}");
        let (intervals, rest) = out.split_once("total ").expect("a closing line");
        assert!(intervals.contains("ops/s 0.00\n\nstats {"), "{out}");
        let (total, readable) = rest.split_once('\n').unwrap();
        let total: serde_json::Value = serde_json::from_str(total).unwrap();
        assert_eq!((&total["operations_total"], &total["replayed"]), (&0.into(), &0.into()));
        assert!(readable.starts_with("applied 0 operations") && readable.ends_with('\n'), "{out}");
        assert!(!socket.0.exists());
    }
}

#[test]
fn a_killed_servers_socket_file_is_replaced() {
    let socket = Scratch::new();
    let listen = format!("-listen unix:{}", socket.0.display());
    let mut killed = Server::start(&listen);
    let live = only_line(&run(&listen), 1);
    assert!(live.contains("address already in use; choose another path"), "{live}");
    killed.child.kill().unwrap();
    assert_eq!(killed.child.wait().unwrap().signal(), Some(9));
    assert!(socket.0.exists());
    let server = Server::start(&listen);
    assert_eq!(server.told("on"), format!("unix:{}", socket.0.display()));
    UnixStream::connect(&socket.0).unwrap();
}

#[test]
fn a_log_that_cannot_be_written_ends_it() {
    let full = File::options().write(true).open("/dev/full").unwrap();
    let (reader, closed) = std::io::pipe().unwrap();
    drop(reader);
    for stdout in [Stdio::from(full), Stdio::from(closed)] {
        let output = command("-listen 127.0.0.1 -port 0").stdout(stdout).output().unwrap();
        let line = only_line(&output, 1);
        assert!(line.contains("cannot write to stdout: "), "{line}");
        assert!(line.ends_with("; give the server a log that can be written to"), "{line}");
    }
}

#[test]
fn a_log_whose_reader_leaves_ends_it() {
    let mut server = Server::start("-stats_secs 0.02");
    let (unread, _writer) = std::io::pipe().unwrap();
    // The server's pipe loses its last reader.
    server.stdout = BufReader::new(ChildStdout::from(OwnedFd::from(unread)));
    let mut text = String::new();
    server.child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(server.child.wait().unwrap().code(), Some(1), "{text}");
    assert!(text.contains("kvs-server: cannot write to stdout: "), "{text}");
}

#[test]
fn a_second_signal_ends_it_at_once() {
    // Nobody reads stdout, and it is full, so the closing lines cannot be written.
    let (stdout, _unread) = UnixStream::pair().unwrap();
    stdout.set_nonblocking(true).unwrap();
    let full = loop {
        if let Err(error) = (&stdout).write(&[b'x'; 4096]) {
            break error.kind();
        }
    };
    assert_eq!(full, ErrorKind::WouldBlock);
    stdout.set_nonblocking(false).unwrap();
    let path = Scratch::new();
    let line = format!("-listen 127.0.0.1 -port 0 -port_file {}", path.0.display());
    let mut child = command(&line).stdout(OwnedFd::from(stdout)).spawn().unwrap();
    while !path.0.exists() {
        std::thread::yield_now();
    }
    send_signal(&child, "TERM");
    let mut said = String::new();
    BufReader::new(child.stderr.take().unwrap()).read_line(&mut said).unwrap();
    assert!(said.contains("a second signal ends the server at once"), "{said}");
    send_signal(&child, "INT");
    assert_eq!(child.wait().unwrap().code(), Some(130));
}
