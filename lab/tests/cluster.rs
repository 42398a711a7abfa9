//! Tests of run-cluster.sh over ssh, with the real binaries, on hosts that scripts/test-hosts makes.

mod harness;

use std::fs;
use std::process::ExitCode;
use std::sync::OnceLock;

use harness::hosts::Hosts;
use harness::process::{children, send};
use harness::{
    Bed, ENDLESS, SMALL, Test, expect, expect_not, expect_one_line, not_run, wait_until,
};
use regex::Regex;
use rustix::process::Signal;

const HOSTS: usize = 8;

const TESTS: &[Test] = &[
    ("four servers and four clients on eight hosts", four_and_four),
    ("half of the hosts serve, the rest drive", half_serve),
    ("hosts from a file, with user, port and address", from_a_file),
    ("hosts from the hosts tool", from_the_hosts_tool),
    ("a hosts tool that fails is an error", hosts_tool_fails),
    ("hosts with addresses of IPv6", ipv6),
    ("a run is checked across clocks that are apart", checked),
    ("a binary of another version is replaced", other_version),
    ("a host that is unreachable is named", unreachable),
    ("a host that is not trusted, or does not trust, is told", not_trusted),
    ("a server or client that refuses its flags is named", refused_flags),
    ("a server that is killed is named", server_killed),
    ("a client that is killed is named, and the run is checked", client_killed),
    ("a keeper that is killed takes its process along", keeper_killed),
    ("a connection that is killed is told", connection_killed),
    ("after a launcher that was killed, nothing stays and the next runs", launcher_killed),
    ("a process that nobody looks after is ended", stale_process),
    ("hosts on which another run is going on are refused", busy_hosts),
    ("Ctrl-C ends everything everywhere", interrupted),
    ("data on the slower interface is warned of", slower_interface),
    ("addresses that a host has not are told", bad_addresses),
    ("bad hosts are refused", bad_hosts),
    ("a node is prepared, once", node_is_prepared),
    // The last one: it takes a host away.
    ("a host that dies is told, and the logs are there", host_dies),
];

/// Of all tests, made when the first one needs them.
static MADE: OnceLock<Hosts> = OnceLock::new();

fn main() -> ExitCode {
    let cannot = match std::env::var("KVS_LONG_TESTS").as_deref() {
        Ok("1") => Hosts::why_not(),
        _ => Some("a long test: set KVS_LONG_TESTS=1".to_owned()),
    };
    let conclusion = harness::run("runs over ssh", cannot, |bed| hosts().make(bed), TESTS);
    let left = MADE.get().map(Hosts::down).unwrap_or_default();
    if left.is_empty() {
        return conclusion.exit_code();
    }
    println!("FAILED: these namespaces are left: {left}");
    ExitCode::FAILURE
}

fn hosts() -> &'static Hosts {
    MADE.get_or_init(|| Hosts::up(HOSTS))
}

/// The small load for a second.
fn small() -> String {
    format!("{SMALL} -secs 1")
}

fn four_and_four(bed: &Bed) {
    let run = bed.launcher(["4", "4", "", &small()]).ends_with(0);
    run.first("cluster: 4 servers and 4 clients on 8 machines")
        .last(r"^total [1-9]\d* op/s \(4\+4 processes on 8 machines, .*, 0 errors")
        .out(r"^node0 +server 1 +10\.77\.\d+\.1 on eth0, 10 Gbit/s$")
        .out(r"^servers on 10\.77\.\d+\.1:\d+,10\.77\.")
        .out("^copied binaries to 8 hosts$")
        .quiet();
    for i in 1..=4 {
        run.out(&format!(" {i}/4 "));
        for file in ["kvs-server-{}.log", "kvs-client-{}.log", "kvs-client-{}.json"] {
            let file = file.replace("{}", &i.to_string());
            assert_ne!(bed.text(&file), "", "{file}");
        }
    }
    let told = bed.json("cluster.json");
    assert_eq!(told["mode"], "cluster: 4 servers and 4 clients on 8 machines");
    assert_eq!(told["machines"], 8);
    let host = &bed.json("run.json")["environment"]["hosts"][7];
    assert_eq!([&host["node"], &host["role"], &host["name"]], ["node7", "client 4", "node7"]);
    assert_eq!(host["link_mbit"], 10000);

    // What is there already is not copied again; and nothing of the run is left there.
    expect_not(&bed.launcher(["4", "1", "", &small()]).ends_with(0).out, "^copied");
    let left = ["find", "/tmp/kvs-0", "-mindepth", "2", "-not", "-path", "*/bin/*"];
    assert_eq!(hosts().on(4, left), "");
}

fn half_serve(bed: &Bed) {
    let launcher = bed.launcher([""; 0]).env("KVS_HOSTS", "node0,node1, node2");
    let running = launcher.start();
    running.wait_out("^logs in");
    running.signal(Signal::TERM);
    running.ends().first("cluster: 1 servers and 2 clients on 3 machines");
}

fn from_a_file(bed: &Bed) {
    let address = hosts().address(1);
    let text = format!("# my nodes\n\n  root@node1:22={address} # serves\r\nnode2\n");
    let file = bed.write("hosts.txt", &text);
    let launcher = bed.launcher(["1", "1", "", &small()]).without("KVS_HOSTS");
    let run = launcher.env("KVS_HOSTS_FILE", file).ends_with(0);
    run.out(r"^node1:22 +server 1 +10\.77\.\d+\.2 on eth0").out(r"^node2 +client 1");
}

/// A PATH with a stand-in for CloudLab's tool, which does what the command does.
fn hosts_tool(bed: &Bed, command: &str) -> String {
    let tool = format!("#!/bin/sh\n[ \"$1\" = hostnames ] || exit 9\n{command}\n");
    let tool = bed.script("tool/tmcc", &tool);
    format!("{}:{}", tool.parent().unwrap().display(), std::env::var("PATH").unwrap())
}

fn from_the_hosts_tool(bed: &Bed) {
    let names = "echo a warning >&2; printf 'node0.exp.lab 1\\nnode1.exp.lab 2\\n'";
    let path = hosts_tool(bed, names);
    let launcher = || bed.launcher(["1", "1", "", &small()]).env("PATH", &path);
    let run = launcher().without("KVS_HOSTS").ends_with(0);
    run.first("cluster: 1 servers and 1 clients on 2 machines");
    // One machine all the same, when that is what is asked for.
    let launcher = launcher().env("KVS_HOSTS", "localhost").env("KVS_HOSTS_FILE", "/nowhere");
    launcher.ends_with(0).first("dev: 2 processes on ONE machine, not a cluster figure");
}

fn hosts_tool_fails(bed: &Bed) {
    for (command, told) in [
        ("echo no such experiment >&2; exit 1", "failed: .*tmcc hostnames: no such experiment; "),
        ("exit 0", "named no node: "),
    ] {
        let launcher = bed.launcher(["1", "1"]).env("PATH", hosts_tool(bed, command));
        let run = launcher.without("KVS_HOSTS").ends_with(1);
        run.err_line(&format!("the hosts tool {told}.*KVS_HOSTS=localhost"));
        assert_eq!(run.out, "", "it fell back");
    }
}

/// One host is named by a number, the other's is that of its data alone.
fn ipv6(bed: &Bed) {
    let (Some(first), Some(second)) = (hosts().address_6(0), hosts().address_6(1)) else {
        not_run("this kernel has no IPv6");
    };
    let names = format!("[{first}]={first} node1={second}");
    let run = bed.launcher(["1", "1", "", &small()]).env("KVS_HOSTS", names).ends_with(0);
    run.out(&format!(r"^\[{first}\] +server 1 +{first} on eth0, 10 Gbit/s$"))
        .out(&format!(r"^node1 +client 1 +{second} on eth0"))
        .out(&format!(r"^servers on \[{first}\]:\d+$"))
        .last(r"^total [1-9]\d* op/s .*, 0 errors")
        .quiet();
    // The twin: one that the host has not.
    let names = format!("[{first}]={second} node2");
    let run = bed.launcher(["1", "1", "", &small()]).env("KVS_HOSTS", names).ends_with(1);
    run.err_line(&format!(r"\[{first}\]: it has no address {second}; it has: .*{first} \(eth0\)"));
}

/// Hosts whose monotonic clocks are thousands of seconds apart.
fn checked(bed: &Bed) {
    let load = small() + " -mix get=50,put=20,del=10,cas=10,incr=10";
    let launcher = bed.launcher(["1", "3", "", &load]).env("KVS_CHECK", "1");
    let run = launcher.env("KVS_KEEP_HISTORY", "1").ends_with(0);
    run.last(r"^total [1-9]\d* op/s .*, 0 errors, linearizable");
    let of_third = |json: &serde_json::Value| {
        let clocks = json["clocks"].as_array().unwrap();
        clocks.iter().find(|clock| clock["process"] == "kvs-client 3").unwrap().clone()
    };
    let clock = of_third(&bed.json("clocks.json"));
    assert!(clock["offset_ns"].is_i64() && clock["error_ns"].is_u64(), "{clock}");
    assert!(clock["start"].is_object() && clock["end"].is_object(), "{clock}");
    of_third(&bed.json("cluster.json"));
    // The twin: without the clocks the same histories contradict each other.
    let histories = (1..=3).map(|i| bed.latest(format!("kvs-client-{i}.history")));
    bed.program(bed.path("bin/kvs-check"), histories).ends_with(1);
}

fn other_version(bed: &Bed) {
    let run = || bed.launcher(["1", "1", "", &small()]).ends_with(0);
    run();
    let other = "printf '#!/bin/sh\\nexit 9\\n' >/tmp/kvs-0/bin/kvs-server";
    hosts().on(0, ["sh", "-c", other]);
    run().out("^copied binaries to 1 hosts$").last(r"^total [1-9]\d* op/s");
    expect_not(&run().out, "^copied");
}

fn unreachable(bed: &Bed) {
    // An address of the bridge's network that nobody has, and a name that nobody has.
    let nobody = format!("10.77.{}.200", hosts().number);
    let launcher = bed.launcher(["1", "2", "", &small()]);
    let run = launcher.env("KVS_HOSTS", format!("node0 {nobody} nosuchhost.invalid")).ends_with(1);
    run.err(&format!(
        r"^run-cluster.sh: {nobody}: it cannot be reached \(.*\); see that it is up and that ssh {nobody} works, or take it out of KVS_HOSTS"
    ))
    .err("nosuchhost.invalid: no host has that name");
    assert_eq!(run.err.lines().count(), 2);
}

fn not_trusted(bed: &Bed) {
    let config = fs::read_to_string(hosts().state.join("ssh_config")).unwrap();
    // As it is, but for the host keys, or the user's key.
    for (is, becomes, told) in [
        (
            "known_hosts",
            "nobody_known",
            "node0: its host key is not in known_hosts; type ssh node0 once .* ssh-keyscan",
        ),
        ("user_key", "no_key", "node1: it refuses this user's key .*ssh-copy-id node1"),
    ] {
        let file = bed.write("ssh_config", &config.replace(is, becomes));
        let launcher = bed.launcher(["1", "1", "", &small()]);
        let run = launcher.env("KVS_SSH_OPTIONS", format!("-F {}", file.display())).ends_with(1);
        run.err(told);
        assert_eq!(run.err.lines().count(), 2);
    }
    assert!(!hosts().state.join("nobody_known").exists());
}

fn refused_flags(bed: &Bed) {
    let small = small() + " -no_such_flag 3";
    for (server_flags, client_flags, who) in [
        ("-no_such_flag 3", SMALL, "kvs-server [12] on node[01]"),
        ("", &small, "kvs-client [12] on node[23]"),
    ] {
        let run = bed.launcher(["2", "2", server_flags, client_flags]).ends_with(1);
        run.err(&format!("{who} failed with status 2: .*no.such.flag"));
    }
}

// Any one process of a run: those on hosts, and those here that lead to them.

const SERVER: &str = "^[^ ]*bin/kvs-server ";
const CLIENT: &str = "^[^ ]*bin/kvs-client ";

fn kill_on(host: usize, id: &str) {
    hosts().on(host, ["sh", "-c", &format!("kill -KILL {id}")]);
}

fn server_killed(bed: &Bed) {
    let running = bed.launcher(["2", "2", "", ENDLESS]).start_clients();
    kill_on(1, &hosts().process(1, SERVER).0);
    let run = running.ends_with(1);
    run.err("kvs-server 2 on node1 was killed by SIGKILL.*see .*kvs-server-2.log");
    expect(&bed.text("kvs-server-1.log"), "^total ");
}

fn client_killed(bed: &Bed) {
    let running = bed.launcher(["1", "2", "", ENDLESS]).env("KVS_CHECK", "1").start_clients();
    kill_on(2, &hosts().process(2, CLIENT).0);
    let run = running.ends_with(1);
    run.err("kvs-client 2 on node2 was killed by SIGKILL").out("^verdict +linearizable$");
    bed.json("kvs-client-1.json");
}

/// The keeper is its process's parent.
fn keeper_killed(bed: &Bed) {
    let running = bed.launcher(["1", "2", "", ENDLESS]).start_clients();
    kill_on(1, &hosts().process(1, CLIENT).1);
    running.ends_with(1).err("kvs-client 1 on node1 ");
    expect(&bed.text("kvs-server-1.log"), "^total ");
}

/// The first ssh to a host is the one that the others go through.
fn connection_killed(bed: &Bed) {
    let running = bed.launcher(["1", "2", "", ENDLESS]).start_clients();
    let is_ssh = Regex::new("^([^ ]*/)?ssh .* node2 ").unwrap();
    let children = children(running.id());
    send(children.iter().find(|it| is_ssh.is_match(&it.arguments)).unwrap().id, Signal::KILL);
    running.ends_with(1).err("node2.* lost its ssh connection");
    bed.json("kvs-client-1.json");
}

fn launcher_killed(bed: &Bed) {
    let running = bed.launcher(["2", "2", "", ENDLESS]).start_clients();
    running.signal(Signal::KILL);
    running.ends_with(128 + 9);
    // What it started ends by itself, here and there.
    wait_until("the end of all that was started", || bed.left().is_empty());
    bed.launcher(["2", "2", "", &small()]).ends_with(0);
}

/// A keeper and its launcher that were killed leave a process that nobody looks after. The file that
/// tells of it is one of a real run, with other numbers.
fn stale_process(bed: &Bed) {
    let hosts = hosts();
    let started =
        |id: &str| hosts.on(0, ["cut", "-d", " ", "-f", "22", &format!("/proc/{id}/stat")]);
    let running = bed.launcher(["1", "1", "", ENDLESS]).start_clients();
    let (server, keeper) = hosts.process(0, SERVER);
    let file = hosts.on(0, ["sh", "-c", "echo /tmp/kvs-0/processes/*"]);
    let text = hosts.on(0, ["cat", &file]);
    let server_started = started(&server);
    running.signal(Signal::INT);
    running.ends_with(130);

    for is_the_one in [true, false] {
        let stale = hosts.on(0, ["sh", "-c", "sleep 600 >/dev/null 2>&1 & echo $!"]);
        let stale_started = if is_the_one { started(&stale) } else { "12345".to_owned() };
        let mut text = text.clone();
        for (was, is) in
            [(&server_started, &stale_started), (&keeper, &"999999".to_owned()), (&server, &stale)]
        {
            let was = Regex::new(&format!(r"\b{was}\b")).unwrap();
            text = was.replace_all(&text, is).into_owned();
        }
        hosts.on(0, ["sh", "-c", &format!("cat >{file} <<'END'\n{text}\nEND")]);
        let run = bed.launcher(["1", "1", "", &small()]).ends_with(0);
        if is_the_one {
            run.out(&format!(r"^node0: ended kvs-server 1 \(process {stale}\) of run 2\d+-\d+$"));
            hosts.on(0, ["sh", "-c", &format!("! kill -0 {stale} 2>/dev/null")]);
        } else {
            // The twin: a process that has that number now, but is another, is left alone.
            expect_not(&run.out, "ended");
            kill_on(0, &stale);
        }
    }
}

fn busy_hosts(bed: &Bed) {
    let running = bed.launcher(["1", "1", "", ENDLESS]).start_clients();
    let second = bed.launcher(["1", "1", "", &small()]).ends_with(1);
    second.err(r"node0: another run is going on there: kvs-server 1 \(process \d+\) of run 2");
    running.signal(Signal::INT);
    running.ends_with(130);
}

fn interrupted(bed: &Bed) {
    let running = bed.launcher(["2", "2", "", ENDLESS]).start_clients();
    running.signal_group(Signal::INT);
    running.ends_with(130).out("^stopping on SIGINT$").last("^total .*INTERRUPTED");
    expect(&bed.text("kvs-server-1.log"), "^total ");
    expect(&bed.text("kvs-server-2.log"), "^total ");
}

/// A second interface, twice as fast as the one that ssh comes in by.
fn slower_interface(bed: &Bed) {
    hosts().on(
        0,
        [
            "sh",
            "-e",
            "-c",
            "ip link add fast0 type veth peer name fast1
        ip address add 10.99.0.1/24 dev fast0
        ip link set fast0 up
        ip link set fast1 up
        echo 20000 >/tmp/speed
        mount --bind /tmp/speed \"$(readlink -f /sys/class/net/fast0)/speed\"",
        ],
    );
    let run = bed.launcher(["1", "1", "", &small()]).ends_with(0);
    hosts().on(0, ["ip", "link", "delete", "fast0"]);
    let what = "node0 has its data on eth0 (10 Gbit/s), but is linked with 20 Gbit/s by fast0";
    let remedy = "name it as node0=10.99.0.1";
    let line = format!("warning: {what}: {remedy}");
    assert!(run.out.lines().any(|it| it == line), "no warning in {}", run.out);
    assert_eq!(bed.json("run.json")["warnings"][0]["what"], what);
    assert_eq!(bed.json("run.json")["warnings"][0]["remedy"], remedy);
    expect(&bed.text("cluster.json"), remedy);
}

fn bad_addresses(bed: &Bed) {
    let launcher = || bed.launcher(["1", "1", "", &small()]);
    let run = launcher().env("KVS_HOSTS", "node0=10.1.2.3 node1").ends_with(1);
    run.err(r"node0: it has no address 10.1.2.3; it has: 10\.77\.\d+\.1 \(eth0\)");
    let state = hosts().state.display();
    let options = format!(
        "{} -o User=root -i {state}/user_key -o UserKnownHostsFile={state}/known_hosts",
        hosts().ssh_options()
    );
    let launcher = launcher().env("KVS_HOSTS", format!("node0 {}", hosts().address(0)));
    let run = launcher.env("KVS_SSH_OPTIONS", options).ends_with(1);
    run.err("are one host: both have the data address");
}

fn bad_hosts(bed: &Bed) {
    let two = [
        (
            &["5", "4"][..],
            "5 servers and 4 clients take 9 hosts, but KVS_HOSTS names 8; lower the counts or add hosts",
        ),
        (&["8"], "8 servers and 1 clients take 9 hosts"),
    ];
    for (arguments, told) in two {
        bed.launcher(arguments).ends_with(2).err_line(told);
    }
    for (names, told) in [
        ("node0 node1 node0", "KVS_HOSTS: node0 is named twice"),
        ("node0", "KVS_HOSTS names one host"),
        (" , ", "KVS_HOSTS names no host"),
        (
            "node0 -oProxyCommand=x",
            r"KVS_HOSTS: '-oProxyCommand=x' is no host; write one as \[user@\]host",
        ),
        ("node0 node1:0", "ports are 1 to 65535"),
        ("node0 [fd77::1", r"KVS_HOSTS: '\[fd77::1' is no host"),
    ] {
        bed.launcher([""; 0]).env("KVS_HOSTS", names).ends_with(2).err_line(told);
    }
    let file = bed.path("bad.txt");
    let launcher = || bed.launcher([""; 0]).env("KVS_HOSTS_FILE", &file);
    launcher().ends_with(2).err_line("KVS_HOSTS_FILE and KVS_HOSTS are both set");
    launcher().without("KVS_HOSTS").ends_with(2).err_line("cannot read the hosts file");
    for (text, told) in [
        ("\n# none\n \n", "the hosts file .* names no host; write one a line"),
        ("node0\nnode1 node2\n", "bad.txt line 2: 'node1 node2' is no host"),
        ("a=10.0.0.1\nb=10.0.0.1\n", "line 2: a and b have the same data address 10.0.0.1"),
    ] {
        fs::write(&file, text).unwrap();
        launcher().without("KVS_HOSTS").ends_with(2).err_line(told);
    }
}

/// Twice in one folder: the second time there is nothing to do.
fn node_is_prepared(bed: &Bed) {
    let prepare = |flags: &[&str], status| {
        let launch = bed.program("scripts/setup-node", flags);
        launch.env("KVS_SETUP_ROOT", bed.path("root")).ends_with(status)
    };
    prepare(&[], 0).out("^written /etc/sysctl.d/90-kvs.conf$");
    let limits = fs::read_to_string(bed.path("root/etc/security/limits.d/90-kvs.conf")).unwrap();
    expect(&limits, "hard nofile 1048576");
    expect_not(&prepare(&[], 0).out, "^written");
    let told = "unknown flag -no_such_flag; -help lists them";
    expect_one_line(&prepare(&["-no_such_flag"], 2).err, told);
}

fn host_dies(bed: &Bed) {
    let running = bed.launcher(["4", "4", "", ENDLESS]).start_clients();
    let first = hosts().init(1);
    // All that runs on the host ends at once, and nobody answers there any more.
    hosts().on(1, ["ip", "link", "set", "eth0", "down"]);
    send(first, Signal::KILL);
    let run = running.ends_with(1);
    run.err("(ssh node1|kvs-server 2 on node1) lost its ssh connection: the host or the network went away");
    for i in [1, 3, 4] {
        expect(&bed.text(format!("kvs-server-{i}.log")), "^total ");
    }
    // The log up to then is there.
    expect(&bed.text("kvs-server-2.log"), "^ops/s ");
    for i in 1..=4 {
        expect(&bed.text(format!("kvs-client-{i}.log")), "^stats ");
    }
}
