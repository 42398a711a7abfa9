//! A run names what limited it: runs that are limited on purpose, by too few workers, a pinned CPU,
//! a capped link.

mod harness;

use std::process::ExitCode;

use harness::{Bed, Launch, Test, not_run};

const TESTS: &[Test] = &[
    ("too few workers", too_few_workers),
    ("a pinned CPU", a_pinned_cpu),
    ("a capped link", a_capped_link),
];

/// Where others take the CPU meanwhile, that is what limits, and what must be named.
const BUSY: &str = "this machine's CPU [0-9]+%";

fn main() -> ExitCode {
    harness::run("what limits a run", harness::unless_long("limits"), |_| {}, TESTS).exit_code()
}

/// The launcher behind a command that it is given to, with flags for one client.
fn run(bed: &Bed, before: &str, client: &str) -> Launch {
    let client = format!("-keys 2000 -warmup_secs 0 -secs 4 {client}");
    let before: Vec<&str> = before.split_whitespace().collect();
    let launcher = ["./run-cluster.sh", "1", "1", "", &client];
    let words = [&before[..], &launcher].concat();
    bed.program(words[0], &words[1..])
}

fn too_few_workers(bed: &Bed) {
    let run = run(bed, "", "-workers 1 -batch_size 1 -depth 1").ends_with(0);
    run.out(&format!("^limited by: (none found: raise -workers or -depth;|{BUSY}, only)"));
}

fn a_pinned_cpu(bed: &Bed) {
    if std::thread::available_parallelism().is_ok_and(|cores| cores.get() < 2) {
        not_run("it takes two cores; run it on a machine that has them");
    }
    let run = run(bed, "taskset --cpu-list 0", "-workers 16 -batch_size 1000").ends_with(0);
    run.out(&format!("^limited by: (core 0 of this machine [0-9]+%, all cores|{BUSY})"));
}

fn a_capped_link(bed: &Bed) {
    let Some(namespace) = Namespace::new(bed) else {
        not_run("it needs root and network namespaces; run: sudo -E make test");
    };
    // Packets as large as on a real link, so that the cap's buffer holds several.
    let name = &namespace.name;
    command(bed, &format!("ip -n {name} link set lo mtu 1500 up")).ends_with(0);
    let cap = "dev lo root tbf rate 100mbit burst 64k latency 50ms";
    if command(bed, &format!("tc -n {name} qdisc add {cap}")).start().ends().status != 0 {
        not_run("this kernel has no tc tbf; run it on one that has");
    }
    let inside = format!("ip netns exec {name}");
    let run = run(bed, &inside, "-workers 16 -batch_size 1000").env("KVS_LINK_MBIT", "100");
    let link = "(outgoing|incoming) link (9[0-9]|10[0-9])% of 100 Mbit/s";
    run.ends_with(0).out(&format!("^limited by: this machine {link}"));
}

fn command(bed: &Bed, words: &str) -> Launch {
    let (program, arguments) = words.split_once(' ').expect("it has arguments");
    bed.program(program, arguments.split_whitespace())
}

/// A network of its own, which goes away with this.
struct Namespace<'a> {
    bed: &'a Bed,
    name: String,
}

impl<'a> Namespace<'a> {
    /// `None` where none can be made.
    fn new(bed: &'a Bed) -> Option<Self> {
        let name = format!("kvs-limits-{}", std::process::id());
        let made = harness::is_installed("ip")
            && command(bed, &format!("ip netns add {name}")).start().ends().status == 0;
        made.then_some(Self { bed, name })
    }
}

impl Drop for Namespace<'_> {
    fn drop(&mut self) {
        command(self.bed, &format!("ip netns delete {}", self.name)).start().ends();
    }
}
