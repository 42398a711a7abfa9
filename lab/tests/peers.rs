//! The load generator against real Redis and memcached servers: every kind of operation with its
//! values checked and its history judged, and what must be refused or caught.

mod harness;
#[path = "peers/store.rs"]
mod store;

use std::process::ExitCode;

use harness::{Bed, Launch, Output, Running, Test, expect, expect_one_line};
use regex::escape;
use store::{Memcached, Redis, Store};

/// Tests of what every store must do, then those that are given.
macro_rules! tests_of {
    ($name:literal, $store:ty, $($more:expr),+ $(,)?) => {
        &[
            (concat!($name, ": GET"), |bed| passes::<$store>(bed, "-workload C")),
            (concat!($name, ": SET"), |bed| passes::<$store>(bed, "-mix put=100")),
            (concat!($name, ": GET and SET"), |bed| {
                passes::<$store>(bed, "-workload A -depth 4");
            }),
            (concat!($name, ": INCR"), |bed| passes::<$store>(bed, "-mix get=20,incr=80")),
            (concat!($name, ": CAS"), |bed| passes::<$store>(bed, "-workload F")),
            (concat!($name, ": all together"), |bed| {
                passes::<$store>(bed, "-mix get=40,put=20,insert=10,del=10,cas=10,incr=10");
            }),
            (concat!($name, ": one operation at a time"), |bed| {
                passes::<$store>(bed, "-workload A -batch_size 1 -operations 2000");
            }),
            (concat!($name, ": large values"), |bed| {
                let large = "-workload A -value_size 40-60000 -batch_size 20 -operations 2000";
                passes::<$store>(bed, large);
            }),
            (concat!($name, ": a value that was tampered with is caught"), tampering::<$store>),
            (concat!($name, ": keys that vanish are no linearizable history"), flush::<$store>),
            $($more),+
        ]
    };
}

/// With no store but ours.
const ALONE: &[Test] = &[
    ("a URL of no known kind is refused", |bed| {
        refuses(bed, "redis://host:port", "-target etcd://127.0.0.1:1");
    }),
    ("a URL without a port is refused", |bed| {
        refuses(bed, "has no port", "-target redis://127.0.0.1");
    }),
    ("a Redis that is down is refused", |bed| {
        refuses(bed, "is it running?", "-target redis://127.0.0.1:1");
    }),
    ("a memcached that is down is refused", |bed| {
        refuses(bed, "is it running?", "-target memcached://127.0.0.1:1");
    }),
    ("Redis at the port of another service is refused", |bed| {
        let (_ours, address) = bed.server("-threads 1");
        refuses(bed, "another service", &format!("-timeout_ms 1000 -target redis://{address}"));
    }),
    ("memcached at the port of another service is refused", |bed| {
        let (_ours, address) = bed.server("-threads 1");
        refuses(bed, "another service", &format!("-timeout_ms 1000 -target memcached://{address}"));
    }),
];

const REDIS: &[Test] = tests_of!(
    "redis",
    Redis,
    ("redis: memcached at its port is refused", |bed| {
        let redis = Redis::start(bed);
        let target = format!("-timeout_ms 1000 -target memcached://{}", redis.address());
        refuses(bed, "another service", &target);
    }),
    ("redis: without its password it is refused", |bed| {
        let redis = Redis::start(bed);
        redis.require("secret");
        refuses(bed, "redis://:password@host:port", &format!("-target {}", redis.url()));
    }),
    ("redis: with a wrong password it is refused", |bed| {
        let redis = Redis::start(bed);
        redis.require("secret");
        let target = format!("-target redis://:wrong@{}", redis.address());
        refuses(bed, "does not take this password", &target);
    }),
    ("redis: a password opens, and is not shown", |bed| {
        let redis = Redis::start(bed);
        redis.require("secret");
        let target = format!("-operations 1000 -target redis://:secret@{}", redis.address());
        let told = client(bed, &target).ends_with(0);
        assert!(!(told.out + &told.err).contains("secret"), "it is shown");
    }),
);

const MEMCACHED: &[Test] = tests_of!(
    "memcached",
    Memcached,
    ("memcached: Redis at its port is refused", |bed| {
        let memcached = Memcached::start(bed);
        refuses(bed, "another service", &format!("-target redis://{}", memcached.address()));
    }),
    ("memcached: counters that nobody loads are refused", |bed| {
        refuses_at(bed, "-preload=false", "-mix get=50,incr=50 -preload=false");
    }),
    ("memcached: CAS with several batches in flight is refused", |bed| {
        refuses_at(bed, "-depth 1", "-workload F -depth 2");
    }),
    ("memcached: values that are too large are refused", |bed| {
        refuses_at(bed, "start it with -I", "-value_size 1048576");
    }),
);

fn main() -> ExitCode {
    let install = "run: sudo make bench-setup";
    let missing = |program: &str| {
        (!harness::is_installed(program)).then(|| format!("there is no {program}; {install}"))
    };
    let failed = [
        harness::run("URLs of other stores", None, |_| {}, ALONE),
        harness::run("redis", missing("redis-server"), |_| {}, REDIS),
        harness::run("memcached", missing("memcached"), |_| {}, MEMCACHED),
    ];
    ExitCode::from(u8::from(failed.iter().any(libtest_mimic::Conclusion::has_failed)) * 101)
}

/// A short run, with further flags.
fn client(bed: &Bed, flags: &str) -> Launch {
    let small = "-workers 4 -batch_size 100 -keys 2000 -warmup_secs 0 -connections 2";
    bed.program(bed.path("bin/kvs-client"), format!("{small} {flags}").split_whitespace())
}

/// What the checker says of the history, which must end it with the status.
fn judge(bed: &Bed, status: i32) -> Output {
    bed.program(bed.path("bin/kvs-check"), [bed.path("history")]).ends_with(status)
}

/// The flags of a run against a store, recorded.
fn recorded(bed: &Bed, store: &impl Store, flags: &str) -> String {
    let history = bed.path("history");
    format!("-target {} -history {} {flags}", store.url(), history.display())
}

/// The run is clean and its history linearizable.
fn passes<S: Store>(bed: &Bed, flags: &str) {
    let store = S::start(bed);
    // The last of a flag counts.
    client(bed, &recorded(bed, &store, &format!("-operations 20000 {flags}"))).ends_with(0);
    judge(bed, 0);
}

/// The run ends with one line, which has the reason.
fn refuses(bed: &Bed, reason: &str, flags: &str) {
    let told = client(bed, flags).start().ends();
    assert_ne!(told.status, 0, "it is not refused");
    expect_one_line(&(told.out + &told.err), &escape(reason));
}

/// The same by flags for a memcached that runs.
fn refuses_at(bed: &Bed, reason: &str, flags: &str) {
    let memcached = Memcached::start(bed);
    refuses(bed, reason, &format!("-target {} {flags}", memcached.url()));
}

/// Starts a run and waits until it is well past its loading.
fn well_past_loading(bed: &Bed, store: &impl Store, flags: &str) -> Running {
    let before = store.commands();
    let flags = recorded(bed, store, &format!("-batch_size 20 -keys 500 -secs 3 -theta 0 {flags}"));
    let running = client(bed, &flags).start();
    harness::wait_until("commands of the run", || store.commands() > before + 2000);
    running
}

fn tampering<S: Store>(bed: &Bed) {
    let store = S::start(bed);
    let running = well_past_loading(bed, &store, "-workload C");
    store.tamper(500);
    let told = running.ends_with(1);
    expect(&(told.out + &told.err), "[1-9][0-9,]* wrong values");
}

fn flush<S: Store>(bed: &Bed) {
    let store = S::start(bed);
    let running = well_past_loading(bed, &store, "-workload A");
    store.flush();
    running.ends();
    judge(bed, 1);
}
