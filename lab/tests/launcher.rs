//! Tests of run-cluster.sh on this machine, with the real binaries.

mod harness;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::process::{Command, ExitCode};

use harness::process::{is_gone, send};
use harness::{Bed, ENDLESS, Launch, Output, SMALL, Test};
use harness::{expect, expect_not, not_run, read, root, sum, wait_until};
use rustix::process::Signal;

const TESTS: &[Test] = &[
    ("one server and one client", one_and_one),
    ("two servers and two clients", two_and_two),
    ("four servers and four clients", four_and_four),
    ("1,024 workers on two connections", many_workers_on_few_connections),
    ("values of 64 KiB", large_values),
    ("a run is checked", checked),
    ("a run whose server is killed is checked", checked_with_a_server_killed),
    ("a run whose client is killed is checked", checked_with_a_client_killed),
    ("a run that is convicted fails", checked_and_convicted),
    ("two runs at once have two folders", two_runs_at_once),
    ("ports follow each other from -port", given_ports_and_threads),
    ("Ctrl-C stops everything", control_c),
    ("SIGTERM stops everything", terminated),
    ("a server that is killed is named", server_killed),
    ("a client that is killed is named", client_killed),
    ("a server that is paused is not taken for dead", server_paused),
    ("a port that is taken is named", port_taken),
    ("a flag that no binary knows is told", unknown_flag),
    ("bad counts are refused", bad_counts),
    ("flags of the launcher are refused", owned_flags),
    ("missing binaries are named", no_binaries),
    ("a cargo that is missing, old or fails is told", cargo_that_will_not_do),
    ("a build can be stopped", stopped_while_building),
    ("a terminal shows a live table", live_table),
    ("help tells the usage", help),
    ("a launcher that is killed leaves nothing", launcher_killed),
    ("HOME, CDPATH and the way it is named do not matter", environment),
    ("a log folder that can't be made is told", no_log_folder),
    ("a log folder that is full is told", full_log_folder),
    ("a log folder that fills during a run is told", filled_log_folder),
    ("a log folder that is removed during a run is told", removed_log_folder),
    ("a reader that goes away is no fault", no_reader),
    ("a stdout that takes nothing is told quietly", full_stdout),
];

fn main() -> ExitCode {
    harness::main("the launcher", TESTS)
}

/// The small load for so many seconds.
fn small(seconds: u32) -> String {
    format!("{SMALL} -secs {seconds}")
}

fn one_and_one(bed: &Bed) {
    let run = bed.launcher(["1", "1", "", &small(2)]).ends_with(0);
    run.first("dev: 2 processes on ONE machine, not a cluster figure")
        .last(r"^total [1-9]\d* op/s \(1\+1 processes on one machine, .*, 0 errors")
        .quiet();
    for file in ["run.json", "cluster.json", "ops.svg", "ops.png", "kvs-server-1.log"] {
        assert_ne!(bed.text(file), "", "{file}");
    }
    for file in ["kvs-client-1.log", "kvs-client-1.json"] {
        assert_ne!(bed.text(file), "", "{file}");
    }
    let environment = &bed.json("run.json")["environment"];
    assert_ne!(environment["commit"].as_str().unwrap(), "");
    assert_ne!(environment["hosts"][0]["cpu"].as_str().unwrap(), "");
    assert!(bed.path("log/latest").is_symlink());
}

fn two_and_two(bed: &Bed) {
    let run = bed.launcher(["2", "2", "", &small(2)]).ends_with(0);
    run.last(r"^total [1-9]\d* op/s \(2\+2 processes").out(" 1/2 ").out(" 2/2 ");
    assert_eq!(bed.json("cluster.json")["clients"], 2);
}

fn four_and_four(bed: &Bed) {
    let run = bed.launcher(["4", "4", "", &small(1)]).ends_with(0);
    run.last(r"^total [1-9]\d* op/s \(4\+4 processes on one machine, .*, 0 errors");
    run.out(" 1/4 ").out(" 2/4 ").out(" 3/4 ").out(" 4/4 ");
}

fn many_workers_on_few_connections(bed: &Bed) {
    let load = "-keys 2000 -workers 1024 -connections 2 -batch_size 20 -warmup_secs 0 -secs 1";
    bed.launcher(["1", "1", "", load]).ends_with(0).last(r"^total [1-9]\d* op/s .*, 0 errors");
}

fn large_values(bed: &Bed) {
    let load = "-keys 1000 -value_size 65536 -batch_size 100 -workers 4 -warmup_secs 0 -secs 1";
    let run = bed.launcher(["1", "1", "", load]).ends_with(0);
    run.last(r"^total [1-9]\d* op/s .*, 65536 B, .*, hit 100%, 0 errors");
}

fn checked(bed: &Bed) {
    let load = small(1) + " -mix get=50,put=20,del=10,cas=10,incr=10";
    let run = bed.launcher(["2", "2", "", &load]).env("KVS_CHECK", "1").ends_with(0);
    run.last(r"^total [1-9]\d* op/s .*, 0 errors, linearizable").out("^verdict +linearizable$");
    let check = bed.json("check.json");
    assert_eq!(check["verdict"], "linearizable");
    // All that the servers executed was recorded and checked: pings are no operations.
    assert_eq!(check["recorded"], check["checked"]);
    assert_eq!(check["recorded"].as_f64().unwrap(), sum(&bed.json("cluster.json"), "executed"));
    for name in ["keys", "by_witness", "by_sweep", "by_search", "restarts"] {
        assert!(check[name].is_u64(), "{name}");
    }
    assert!(check["interval_us_median"].is_number() && check["interval_us_max"].is_number());
    for client in [1, 2] {
        let history = bed.latest(format!("kvs-client-{client}.history"));
        assert!(!history.exists(), "a history was not deleted");
    }

    let kept = bed.launcher(["1", "1", "", &small(1)]).env("KVS_CHECK", "1");
    kept.env("KVS_KEEP_HISTORY", "1").ends_with(0);
    assert!(fs::metadata(bed.latest("kvs-client-1.history")).unwrap().len() > 0);
}

fn checked_with_a_server_killed(bed: &Bed) {
    let running = bed.launcher(["2", "2", "", ENDLESS]).env("KVS_CHECK", "1").start_clients();
    send(running.child("-shard 2/2").id, Signal::KILL);
    let run = running.ends_with(1);
    run.err("kvs-server 2 was killed by SIGKILL")
        .out("^verdict +linearizable$")
        .out(r"^total \d+ op/s .*linearizable.*, SERVER 2 DIED, INTERRUPTED");
    let check = bed.json("check.json");
    assert_eq!(check["recorded"], check["checked"]);
    assert!(check["unknown"].as_u64() > Some(0));
}

fn checked_with_a_client_killed(bed: &Bed) {
    let running = bed.launcher(["1", "2", "", ENDLESS]).env("KVS_CHECK", "1").start_clients();
    send(running.child("-client_index 2").id, Signal::KILL);
    let run = running.ends_with(1);
    run.err("kvs-client 2 was killed by SIGKILL")
        .out("^warning +1 files are cut off")
        .out("^verdict +linearizable$");
}

/// A checker that convicts every run.
fn checked_and_convicted(bed: &Bed) {
    fs::remove_file(bed.path("bin/kvs-check")).unwrap();
    bed.script(
        "bin/kvs-check",
        r#"#!/bin/sh
echo '{"verdict": "violation", "conclusion": "not linearizable: 1 keys", "recorded": 1,
    "checked": 1, "unknown": 0, "restarts": 0}' >"$2"
echo 'verdict       not linearizable: 1 keys'
exit 1
"#,
    );
    let run = bed.launcher(["1", "1", "", &small(1)]).env("KVS_CHECK", "1").ends_with(1);
    run.last("^total .*, NOT LINEARIZABLE")
        .err_line("not linearizable: 1 keys; see .*kvs-check.log");
    assert!(fs::metadata(bed.latest("kvs-client-1.history")).unwrap().len() > 0);
}

fn two_runs_at_once(bed: &Bed) {
    let runs = [(); 2].map(|()| bed.launcher(["1", "1", "", &small(1)]).start());
    let folders: BTreeSet<String> = runs
        .into_iter()
        .map(|run| {
            let out = run.ends_with(0).out;
            out.lines().find(|line| line.starts_with("logs in")).unwrap().to_owned()
        })
        .collect();
    assert_eq!(folders.len(), 2);
}

fn given_ports_and_threads(bed: &Bed) {
    // Two ports in a row that were free a moment ago; another pair if somebody took one.
    for _ in 0..5 {
        let first = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = first.local_addr().unwrap().port();
        if port == u16::MAX || TcpListener::bind(("127.0.0.1", port + 1)).is_err() {
            continue;
        }
        drop(first);
        let arguments = ["2", "1", &format!("--port={port} -threads 1"), &small(1)];
        let run = bed.launcher(arguments).start().ends();
        if run.status == 0 {
            run.out(&format!("^servers on 127.0.0.1:{port},127.0.0.1:{}$", port + 1));
            return;
        }
        run.err("port|address");
    }
    panic!("five times a port was taken");
}

/// A terminal sends Ctrl-C to the whole group; the clients are in groups of their own.
fn control_c(bed: &Bed) {
    let running = bed.launcher(["2", "2", "", ENDLESS]).start_clients();
    running.signal_group(Signal::INT);
    running.ends_with(130).out("^stopping on SIGINT$");
    servers_have_ended(bed);
}

fn terminated(bed: &Bed) {
    let running = bed.launcher(["2", "2", "", ENDLESS]).start_clients();
    running.signal(Signal::TERM);
    running.ends_with(143).out("^stopping on SIGTERM$");
    servers_have_ended(bed);
}

fn servers_have_ended(bed: &Bed) {
    expect(&bed.text("kvs-server-1.log"), "^total ");
    expect(&bed.text("kvs-server-2.log"), "^total ");
}

fn server_killed(bed: &Bed) {
    let running = bed.launcher(["2", "2", "", ENDLESS]).start_clients();
    send(running.child("-shard 2/2").id, Signal::KILL);
    let run = running.ends_with(1);
    run.err("kvs-server 2 was killed by SIGKILL.*see .*kvs-server-2.log")
        .out(r"^total \d+ op/s .*, SERVER 2 DIED, INTERRUPTED");
}

fn client_killed(bed: &Bed) {
    let running = bed.launcher(["1", "2", "", ENDLESS]).start_clients();
    send(running.child("-client_index 2").id, Signal::KILL);
    let run = running.ends_with(1);
    run.err_line("kvs-client 2 was killed by SIGKILL")
        .out(r"^total \d+ op/s .*, CLIENT 2 LEFT NO RESULT, INTERRUPTED");
}

fn server_paused(bed: &Bed) {
    let running = bed.launcher(["1", "1", "", &small(3)]).start_clients();
    let server = running.child("-shard 1/1").id;
    send(server, Signal::STOP);
    // The launcher looks several times.
    std::thread::sleep(std::time::Duration::from_secs(1));
    send(server, Signal::CONT);
    running.ends_with(0);
}

fn bad_counts(bed: &Bed) {
    let refused = |arguments: &[&str], why| {
        bed.launcher(arguments).ends_with(2).err_line(why);
    };
    for count in ["0", "abc", "-1", "1001", "1.5", "", " ", "99999999999999999999"] {
        refused(&[count], "number of servers must be 1 to 1000");
        refused(&["1", count], "number of clients must be 1 to 1000");
    }
    refused(&["1", "1", "-port", "8080", ""], "4 arguments at most");
    refused(&["2", "1", "-port 65535"], "leaves no room");
    let run = bed.launcher(["1", "1"]).env("KVS_CHECK", "yes").ends_with(2);
    run.err_line("KVS_CHECK is 'yes'; set it to 1");
}

fn owned_flags(bed: &Bed) {
    for flag in [
        "-listen 0.0.0.0",
        "--listen=::",
        "-hosts a:1",
        "-shard 1/2",
        "--client-index 0",
        "-client_count=2",
        "-run-id x",
        "--port_file=x",
        "-json x",
        "-mode x",
        "-history x",
    ] {
        for arguments in [["1", "1", flag, ""], ["1", "1", "", &format!("-secs 1 {flag}")]] {
            bed.launcher(arguments).ends_with(2).err_line("belongs to the launcher");
        }
    }
}

fn port_taken(bed: &Bed) {
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = holder.local_addr().unwrap().port();
    let run = bed.launcher(["1", "1", &format!("-port {port}"), &small(1)]).ends_with(1);
    run.err_line(&format!(r"kvs-server 1 failed with status \d+: .*{port}"));
}

fn unknown_flag(bed: &Bed) {
    let told = r"failed with status \d+: .*no.such.flag";
    let run = bed.launcher(["1", "1", "", "-no_such_flag 3 -secs 1"]).ends_with(1);
    run.err_line(&format!("kvs-client 1 {told}"));
    let run = bed.launcher(["1", "1", "-no_such_flag 3", ""]).ends_with(1);
    run.err_line(&format!("kvs-server 1 {told}"));
}

fn no_binaries(bed: &Bed) {
    let run = bed.launcher(["1", "1"]).env("KVS_BIN_DIR", bed.path("nowhere")).ends_with(1);
    run.err_line("there is no kvs-[a-z]+ in");
}

/// A cargo of that version which builds by running the command. Returns a PATH on which it is first.
fn fake_cargo(bed: &Bed, version: &str, command: &str) -> String {
    let cargo = bed.script(
        "fake/cargo",
        &format!("#!/bin/sh\n[ \"$1\" = --version ] && echo cargo {version} && exit\n{command}\n"),
    );
    format!("{}:{}", cargo.parent().unwrap().display(), std::env::var("PATH").unwrap())
}

fn cargo_that_will_not_do(bed: &Bed) {
    let builds = |path: &str| {
        let launch = bed.launcher(["1", "1"]).without("KVS_BIN_DIR").env("PATH", path);
        launch.env("HOME", bed.path("")).ends_with(1)
    };
    builds(&fake_cargo(bed, "1.70.0", "exit 1"))
        .err_line("Rust [0-9.]+ or later is needed and cargo is 1.70.0; run: rustup update");
    let run = builds(&fake_cargo(bed, "99.0.0", "echo no luck >&2; exit 101"));
    run.err("no luck").err("the build failed; see above");

    // A PATH with all that there is but cargo.
    fs::create_dir(bed.path("tools")).unwrap();
    for folder in ["/usr/bin", "/bin"] {
        for tool in fs::read_dir(folder).unwrap().flatten() {
            let name = tool.file_name();
            if !["cargo", "rustc", "rustup"].iter().any(|&it| name == *it) {
                // Both folders may hold it.
                let _ = symlink(tool.path(), bed.path("tools").join(name));
            }
        }
    }
    let run = builds(bed.path("tools").to_str().unwrap());
    run.err_line("there is no cargo; install it from");
}

fn stopped_while_building(bed: &Bed) {
    let path = fake_cargo(bed, "99.0.0", "echo building >&2; exec sleep 600");
    let running = bed.launcher(["1", "1"]).without("KVS_BIN_DIR").env("PATH", path).start();
    running.wait_err("building");
    let build = running.child("sleep 600").id;
    running.signal(Signal::TERM);
    running.ends_with(130).err("stopped while building");
    wait_until("the end of the build", || is_gone(build));
}

/// On a terminal, one table of all processes, redrawn in place; its size is that of script's terminal.
fn live_table(bed: &Bed) {
    let typed = bed.path("typed");
    let command = format!("./run-cluster.sh 2 2 '' '{}'", small(4));
    bed.program("script", ["-qec", &command, typed.to_str().unwrap()]).ends_with(0);
    let typed = read(&typed);
    expect(&typed, r"^ +node +op/s +p99 ms +CPU +sent MB/s +received MB/s");
    expect(&typed, r"^ +server 2 +\d+ +- +\d+%");
    expect(&typed, r"^ +client 2 +\d+ +[0-9.]+ +\d+%");
    expect(&typed, r"^measure: \d+ op/s, worst p99 [0-9.]+ ms, 0 errors, \d+ s left");
    // Six lines are taken back before the next ones, and at the end.
    assert!(typed.matches("\x1b[6A\r\x1b[J").count() >= 2, "{typed}");
    expect(&typed, r"^total \d+ op/s");
}

fn help(bed: &Bed) {
    bed.launcher(["-help"]).ends_with(0).out(r"^usage: ./run-cluster.sh \[servers\]");
    bed.launcher(["--help"]).ends_with(0).out("quotes inside them mean nothing");
}

fn launcher_killed(bed: &Bed) {
    let running = bed.launcher(["2", "2", "", ENDLESS]).start_clients();
    running.signal(Signal::KILL);
    running.ends_with(128 + 9);
}

fn environment(bed: &Bed) {
    let arguments = ["1", "1", "", &small(1)];
    let total = r"^total [1-9]\d* op/s";
    bed.launcher(arguments).without("HOME").ends_with(0).last(total).quiet();
    // A cargo that is told of nothing but itself.
    let path = fake_cargo(bed, "99.0.0", "echo no luck >&2; exit 101");
    let run = bed.launcher(arguments).without("HOME").without("KVS_BIN_DIR").env("PATH", path);
    run.ends_with(1).err("no luck").err("the build failed; see above");

    let root = root();
    let above = root.parent().unwrap();
    let name = format!("{}/run-cluster.sh", root.file_name().unwrap().to_str().unwrap());
    let run = bed.program(name, arguments).within(above).env("CDPATH", above);
    run.ends_with(0).last(total).quiet();

    fs::create_dir(bed.path("links")).unwrap();
    symlink(root.join("run-cluster.sh"), bed.path("first")).unwrap();
    symlink("../first", bed.path("links/second")).unwrap();
    let run = bed.program("links/second", arguments).within(bed.path(""));
    let run = run.env("KVS_BIN_DIR", "bin").env("KVS_LOG_DIR", "log").ends_with(0);
    run.last(total).out("^logs in log/2").quiet();
}

/// The launcher with its logs on a disk of its own, which is there for nobody else. Before it starts,
/// the command runs, with the disk's folder as $1.
fn on_disk(bed: &Bed, options: &str, command: &str, arguments: [&str; 4]) -> Launch {
    let disk = bed.path("disk");
    fs::create_dir_all(&disk).unwrap();
    let mount = format!(r#"mount -t tmpfs -o {options} none "$1""#);
    let mut words = vec!["--mount", "sh", "-c"];
    if !rustix::process::geteuid().is_root() {
        words.insert(0, "--map-root-user");
    }
    let probe = Command::new("unshare").args(&words).args([&mount, "sh"]).arg(&disk).output();
    if !probe.is_ok_and(|output| output.status.success()) {
        not_run("this system lets nobody mount a disk in a namespace");
    }
    let script = format!(r#"{mount} && {command}; shift; exec ./run-cluster.sh "$@""#);
    words.extend([&script, "sh", disk.to_str().unwrap()]);
    bed.program("unshare", words.into_iter().chain(arguments)).env("KVS_LOG_DIR", disk.join("log"))
}

const FILL: &str = r#"head -c 64M /dev/zero >"$1/fill" 2>/dev/null"#;

fn no_log_folder(bed: &Bed) {
    let arguments = ["1", "1", "", &small(1)];
    let told = "^run-cluster.sh: cannot make the folder .*/log.*; set KVS_LOG_DIR to another$";
    bed.write("log", "");
    bed.launcher(arguments).ends_with(1).err_line(told);
    on_disk(bed, "size=1m,ro", ":", arguments).ends_with(1).err_line(told);
    // Its first folder is its last.
    on_disk(bed, "nr_inodes=2", ":", arguments).ends_with(1).err_line(told);
}

fn full_log_folder(bed: &Bed) {
    let arguments = ["1", "1", "", &small(1)];
    let run = on_disk(bed, "size=4k", FILL, arguments).ends_with(1);
    run.err_line("^run-cluster.sh: .*No space left on device");
    // What describes the run fits, and no log does.
    let run = on_disk(bed, "size=4k", ":", arguments).ends_with(1);
    run.err_line("^run-cluster.sh: ");
}

fn filled_log_folder(bed: &Bed) {
    // By the run itself.
    let launcher = on_disk(bed, "size=1m", ":", ["1", "1", "", ENDLESS]);
    let run = launcher.env("KVS_CHECK", "1").ends_with(1);
    expect(run.err.lines().next().unwrap(), "kvs-client 1 failed .*No space left on device");
    expect_not(&run.err, "panicked");

    // By others.
    let running = on_disk(bed, "size=1m", ":", ["1", "1", "", &small(5)]).start_clients();
    let fill = format!("/proc/{}/root{}", running.id(), bed.path("disk/fill").display());
    fs::write(fill, vec![0; 2 << 20]).unwrap_err();
    // Who finds no room for its log may find none for the reason either.
    let run = running.ends_with(1);
    expect(run.err.lines().next().unwrap(), "^run-cluster.sh: kvs-(server|client) 1 failed ");
    expect_not(&run.err, "panicked");
}

fn removed_log_folder(bed: &Bed) {
    let removed = |load: &str| {
        let running = bed.launcher(["1", "1", "", load]).start_clients();
        fs::remove_dir_all(bed.path("log")).unwrap();
        running
    };
    let run = removed(&small(5)).ends_with(1);
    run.err_line(&format!("^run-cluster.sh: .*{}", bed.path("log").display()));
    // The user need not wait for its end.
    let running = removed(ENDLESS);
    running.signal(Signal::TERM);
    running.ends_with(143).err_line(r"^run-cluster.sh: stopped before there was a total: \S");
}

fn no_reader(bed: &Bed) {
    for last in ["dev: ", "client 1:"] {
        let (reader, writer) = std::io::pipe().unwrap();
        let running = bed.launcher(["1", "1", "", &small(3)]).stdout(writer).start();
        let mut lines = BufReader::new(reader).lines().map(Result::unwrap);
        assert!(lines.any(|line| line.starts_with(last)), "it never wrote {last}");
        drop(lines);
        running.ends().quiet();
        wait_until("the end of all that was started", || bed.left().is_empty());
    }
}

fn full_stdout(bed: &Bed) {
    let is_quiet = |run: &Output| {
        expect_not(&run.err, "panicked");
        assert!(run.err.lines().count() <= 1, "more than one line: {}", run.err);
    };
    let full = File::create("/dev/full").unwrap();
    let run = bed.launcher(["1", "1", "", &small(1)]).stdout(full).ends_with(1);
    is_quiet(&run);
    let closed = ["-c", r#"exec ./run-cluster.sh 1 1 "" "$1" >&-"#, "sh", &small(1)];
    is_quiet(&bed.program("sh", closed).start().ends());
}
