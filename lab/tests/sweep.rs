//! Sweeps over the real binaries.

mod harness;

use std::process::ExitCode;

use harness::{Bed, Launch, Output, SMALL, Test, expect_not, read};
use regex::escape;
use rustix::process::Signal;

/// What is tested, as its messages name it.
const SWEEP: &str = "kvs-lab sweep";

const TESTS: &[Test] = &[
    ("bad flags are refused", bad_flags_are_refused),
    ("a dry run lists the runs", a_dry_run_lists_the_runs),
    ("a sweep that is stopped goes on", a_sweep_that_is_stopped_goes_on),
    ("a folder of another sweep is refused", a_folder_of_another_sweep_is_refused),
    ("a run that fails is told, and the others count", a_run_that_fails_is_told),
];

fn main() -> ExitCode {
    harness::main("sweeps", TESTS)
}

fn sweep(bed: &Bed, arguments: &[&str]) -> Launch {
    let (program, first) = match SWEEP.split_once(' ') {
        Some((program, first)) => (bed.path("bin").join(program), Some(first)),
        None => (SWEEP.into(), None),
    };
    bed.program(program, first.iter().chain(arguments))
}

/// A sweep of four short runs into the bed's folder `out`, with further flags.
fn sizes(bed: &Bed, more: &[&str]) -> Launch {
    let out = bed.path("out");
    let client = "-keys 200 -workers 2 -threads 1 -warmup_secs 0";
    let flags = ["-batch_size=10,100", "-store", "mutex", "-repeats", "2", "-secs", "1"];
    let names = ["-warm_secs", "0", "-name", "sizes", "-client_args", client];
    let out = ["-out", out.to_str().unwrap()];
    sweep(bed, &[&flags[..], &names, &out, more].concat())
}

fn bad_flags_are_refused(bed: &Bed) {
    let refused = |text: &str, arguments: &[&str]| {
        let output = sweep(bed, &[arguments, &["-dry_run"]].concat()).ends_with(2);
        assert_eq!(output.out, "");
        output.err_line(&escape(text));
    };
    refused("there is no -batch to sweep; there are: servers", &["-batch", "1,2"]);
    refused("write values with single commas", &["-batch_size", "1,,2"]);
    refused("write values with single commas", &["-batch_size", "1, 2"]);
    refused("a list has a value twice", &["-batch_size", "1,1"]);
    refused("is given twice", &["-batch_size", "1", "-batch_size", "2"]);
    refused("is no flag", &["1,2"]);
    refused("needs a value", &["-batch_size"]);
    refused("nothing is swept", &["-secs", "3"]);
    refused("-repeats must be 1 or more", &["-batch_size", "1", "-repeats", "0"]);
    refused("-secs is 'long'", &["-batch_size", "1", "-secs", "long"]);
}

fn a_dry_run_lists_the_runs(bed: &Bed) {
    let told = sizes(bed, &["-dry_run"]).ends_with(0).out;
    for size in [10, 100] {
        let of_size = format!(" -batch_size {size} -secs 1\"");
        let runs = told.lines().filter(|line| {
            line.starts_with("run-cluster.sh 1 1 \"-store mutex\" \"") && line.ends_with(&of_size)
        });
        assert_eq!(runs.count(), 2, "size {size}");
    }
    assert!(!bed.path("out").exists(), "it ran something");
}

fn a_sweep_that_is_stopped_goes_on(bed: &Bed) {
    let table = bed.path("out/sizes.jsonl");
    let first = sizes(bed, &[]).start();
    first.wait_out(r"^\[1/4\]");
    first.signal_group(Signal::INT);
    let out = escape(bed.path("out").to_str().unwrap());
    let go_on = format!("it goes on with: {SWEEP} -batch_size 10,100 .* -out {out}$");
    first.ends_with(130).err(&go_on);
    assert!(!table.exists(), "there is a table of half a sweep");

    let second = sizes(bed, &[]).start();
    for run in 2..=4 {
        second.wait_out(&format!(r"^\[{run}/4\]"));
    }
    let told: Output = second.ends_with(0);
    expect_not(&told.out, r"^\[1/4\]");
    told.out(r"^ +100 +mutex +2 +0 +[1-9]");
    let table = read(&table);
    assert_eq!(table.lines().filter(|line| line.starts_with('[')).count(), 4, "{table}");
    assert_eq!(table.lines().last(), Some("{\"rows\":4}"));
    assert!(bed.path("out/sizes.png").metadata().is_ok_and(|file| file.len() > 0), "no drawing");
}

fn a_folder_of_another_sweep_is_refused(bed: &Bed) {
    let first = sizes(bed, &[]).start();
    first.wait_out("^runs in ");
    first.signal_group(Signal::INT);
    first.ends_with(130);
    sizes(bed, &["-secs", "2"]).ends_with(1).err_line("holds a sweep over something else");
}

fn a_run_that_fails_is_told(bed: &Bed) {
    let out = bed.path("out");
    let flags = ["-batch_size", "10,0", "-secs", "1", "-repeats", "1", "-warm_secs", "0"];
    let more = ["-client_args", SMALL, "-out", out.to_str().unwrap()];
    let told = sweep(bed, &[&flags[..], &more].concat()).ends_with(1);
    told.out("batch_size 0: FAILED").out(r"^ +0 +0 +1 +-").out(r"^ +10 +1 +0 +[1-9]");
}
