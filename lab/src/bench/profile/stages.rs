//! Which stage of an operation's way a sampled stack belongs to.

use std::collections::BTreeMap;

/// Stages, each behind parts of the names of its functions. Of several the first counts.
const STAGES: [(&str, &str); 12] = [
    ("store::", "store: look up, compare, apply"),
    ("proto::reply repeats push_outcome", REPLY),
    ("proto::batch proto::operation BatchView", "batch: decode and check"),
    ("proto::codec tokio_util bytes::", "frames: codec and buffers"),
    ("batcher Batch::push", "batch: encode and group"),
    (
        "load::source load::zipfian load::plan load::worker load::value itoa load::keyspace \
         load::permutation",
        "generate operations, check values",
    ),
    ("load::recorder hdrhistogram load::history checker::", "record latencies and history"),
    ("engine::session engine::lane engine::record", "session: lanes and records"),
    ("kvs_server::service engine::", "service: check and walk the batch"),
    ("kvs_client::", "client: lanes, router, pool"),
    ("kvs_server:: tarpc", "connection: tarpc and dispatch"),
    ("tokio", "runtime: tokio"),
];

/// Built on one side and decoded on the other.
const REPLY: &str = "reply";

/// Each stage's part of the samples, from 0 to 1, the greatest first. A line of `folded` is a
/// stack, outermost frame first and `;` between, and the number of its samples.
pub(super) fn shares(folded: &str, side: &str) -> Vec<(&'static str, f64)> {
    let mut samples: BTreeMap<&str, f64> = BTreeMap::new();
    for line in folded.lines() {
        if let Some((stack, count)) = line.rsplit_once(' ') {
            *samples.entry(stage_of(stack, side)).or_default() += count.parse().unwrap_or(0.0);
        }
    }
    let all: f64 = samples.values().sum();
    let mut shares: Vec<_> =
        samples.into_iter().map(|(stage, count)| (stage, count / all)).collect();
    shares.sort_by(|a, b| b.1.total_cmp(&a.1));
    shares
}

/// A stack belongs to the innermost frame that a stage names; the kernel's are told apart by how it
/// was entered.
fn stage_of(stack: &str, side: &str) -> &'static str {
    let has = |names: &str, text: &str| names.split(' ').any(|name| text.contains(name));
    if has("asm_exc_page_fault", stack) {
        return "kernel: page faults";
    }
    if has("entry_SYSCALL_64", stack) {
        let is_socket = has("tcp_ sock_ unix_stream", stack);
        return if is_socket { "kernel: sockets" } else { "kernel: other calls" };
    }
    if has("asm_sysvec asm_common_interrupt", stack) {
        return "kernel: interrupts";
    }
    // The outermost frame is the thread's name.
    let frames = stack.split(';').skip(1).collect::<Vec<_>>();
    let of_frame = |frame: &&str| STAGES.iter().find(|(names, _)| has(names, frame));
    match frames.iter().rev().find_map(of_frame) {
        Some((_, REPLY)) if side == "server" => "reply: build",
        Some((_, REPLY)) => "reply: decode",
        Some((_, stage)) => stage,
        None => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stack_belongs_to_its_innermost_frame_that_a_stage_names() {
        for (stack, stage) in [
            (
                "w;tokio::run;kvs_server::service::batch;store::get;memcpy",
                "store: look up, compare, apply",
            ),
            ("w;tokio::run;kvs_server::service::batch", "service: check and walk the batch"),
            (
                "w;kvs_server::service::batch;engine::engine::execute;engine::lane::next",
                "session: lanes and records",
            ),
            ("w;tokio::run;kvs_server::other", "connection: tarpc and dispatch"),
            ("w;store::get;proto::reply::push", "reply: build"),
            ("w;main;memcpy", "other"),
            ("tokio-rt-worker;main", "other"),
            ("w;store::get;asm_exc_page_fault;handle", "kernel: page faults"),
            ("w;write;entry_SYSCALL_64_after_hwframe;tcp_sendmsg", "kernel: sockets"),
            ("w;wait;entry_SYSCALL_64_after_hwframe;futex", "kernel: other calls"),
            ("w;store::get;asm_sysvec_apic_timer_interrupt", "kernel: interrupts"),
        ] {
            assert_eq!(stage_of(stack, "server"), stage, "{stack}");
        }
        assert_eq!(stage_of("w;proto::reply::read", "client"), "reply: decode");
    }

    #[test]
    fn shares_are_of_all_samples_and_the_greatest_comes_first() {
        let folded = "w;main 1\nw;store::get 5\nw;store::put [x] 1\nw;proto::reply 1\ncut off\n";
        let shares = shares(folded, "client");
        assert_eq!(shares[0], ("store: look up, compare, apply", 0.75));
        assert_eq!(shares.len(), 3);
        assert!(shares[1..].contains(&("reply: decode", 0.125)), "{shares:?}");
        assert_eq!(super::shares("", "client"), []);
    }
}
