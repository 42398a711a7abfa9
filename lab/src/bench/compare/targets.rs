//! The table `targets`: what ours has to reach beside Redis and memcached. Each row is the figure
//! of one contender over that of another, both in the same rounds.

use std::collections::HashMap;

use report::results::Cell;
use report::statistics::{Spread, ratios, significant};
use report::wording::grouped;

use super::redis_benchmark::RedisBenchmark;
use super::{Field, KEY_BYTES, KEYS, VALUE_BYTES, load};
use crate::measure::rounds::{Figures, measured};
use crate::measure::stores::{Store, Stores};
use crate::measure::table::{Table, cells};
use crate::say::say;

/// Digits of ratios.
const DIGITS: usize = 5;

const ON_REDIS: &str = "throughput over Redis";
const ON_REDIS_UNIFORM: &str = "throughput over Redis, uniform keys";
const ON_MEMCACHED: &str = "throughput over memcached";
const OF_SIZES: &str = "slowest of the batch sizes 1,000, 2,000, 5,000 and 10,000 over the fastest";
const OF_LATENCY: Aim = at_most("median latency of one caller", 1.0, 0.8);

/// Rows beside peers: what ours has to reach, its name, and the peer's. Those of a group share
/// rounds.
const GROUPS: [&[(Aim, &str, &str)]; 5] = [
    &[
        (at_least(ON_REDIS, 15.0, 22.0), "ours_10000", "redis_get_1000"),
        (at_least(ON_REDIS, 15.0, 22.0), "ours_10000_full", "redis_get_1000"),
        (at_least(ON_REDIS_UNIFORM, 10.0, 14.0), "ours_10000_uniform", "redis_get_1000"),
    ],
    &[
        (at_least(ON_REDIS, 12.0, 18.0), "ours_10000", "redis_driven"),
        (at_least(ON_MEMCACHED, 12.0, 18.0), "ours_10000", "memcached_driven"),
    ],
    &[(at_least(ON_REDIS, 7.0, 12.0), "ours_100", "redis_get_100")],
    &[(at_least(ON_REDIS, 5.0, 10.0), "ours_plain", "redis_get_1")],
    &[
        (OF_LATENCY, "ours_one_caller", "redis_one_caller"),
        (OF_LATENCY, "ours_one_caller", "redis_driven_one_caller"),
    ],
];

/// Batch sizes, of which none may be much slower than another.
const SIZES: [&str; 4] = ["ours_1000", "ours_2000", "ours_5000", "ours_10000"];

/// Redis under redis-benchmark: names and its flags.
const BENCHMARKED: [(&str, &str); 4] = [
    ("redis_get_1000", "-P 1000 -c 16"),
    ("redis_get_100", "-P 100 -c 16"),
    ("redis_get_1", "-P 1 -c 64"),
    ("redis_one_caller", "-P 1 -c 1"),
];

/// Ours: names, what rows say of them, and the client's flags.
const OURS: [(&str, &str, &str); 10] = [
    ("ours_10000", "batch 10,000", "-batch_size 10000"),
    ("ours_10000_full", "batch 10,000, -dedup off", "-batch_size 10000 -dedup off"),
    ("ours_10000_uniform", "batch 10,000, -dedup off", UNIFORM),
    ("ours_5000", "batch 5,000", "-batch_size 5000"),
    ("ours_2000", "batch 2,000", "-batch_size 2000"),
    ("ours_1000", "batch 1,000", "-batch_size 1000"),
    ("ours_100", "batch 100", "-batch_size 100"),
    ("ours_1024_workers", "batch 10,000, 1,024 workers", MANY_WORKERS),
    ("ours_plain", "plain API, 64 callers", "-plain -workers 64"),
    ("ours_one_caller", "plain API, one caller", "-plain -workers 1 -threads 1"),
];
const UNIFORM: &str = "-batch_size 10000 -dedup off -distribution uniform";
/// Until the first of its 10^7 operations in flight are answered, a second passes.
const MANY_WORKERS: &str = "-batch_size 10000 -workers 1024 -warmup_secs 1.5";

/// What a row measures, and what has to come of it.
#[derive(Clone, Copy)]
struct Aim {
    measure: &'static str,
    bound: Bound,
    target: f64,
    aim: f64,
}

/// On which side of the target a figure has to be; throughputs at least, all else at most.
#[derive(Clone, Copy, PartialEq)]
enum Bound {
    AtLeast,
    AtMost,
}

const fn at_least(measure: &'static str, target: f64, aim: f64) -> Aim {
    Aim { measure, bound: Bound::AtLeast, target, aim }
}

const fn at_most(measure: &'static str, target: f64, aim: f64) -> Aim {
    Aim { measure, bound: Bound::AtMost, target, aim }
}

/// Resident memory that a fresh server takes to hold the keys, over what keys and values are long;
/// of each round.
pub(super) async fn memory_over_payload(
    stores: &Stores,
    pairs: u32,
    half: u32,
) -> anyhow::Result<Vec<f64>> {
    let payload_bytes = f64::from(KEYS * (KEY_BYTES + VALUE_BYTES));
    let rounds = measured(pairs, &["memory_over_payload"], async |_| {
        let server = stores.ours(&["-threads", &half.to_string()]).await?;
        let before = server.resident_bytes()?;
        load(stores, &server).await?;
        let taken = server.resident_bytes()?.saturating_sub(before);
        Ok(significant(taken as f64 / payload_bytes, DIGITS))
    });
    Ok(rounds.await?.concat())
}

/// Measures the table in so many rounds with runs of so many seconds; `memory` is measured already.
pub(super) async fn measure(
    field: &Field,
    pairs: u32,
    secs: f64,
    memory: Vec<f64>,
) -> anyhow::Result<()> {
    let columns = [
        "measure ours peer pairs ours_ops_s:op/s peer_ops_s:op/s median quartile min max bound",
        "target aim met",
    ];
    let title = "Ours against its targets";
    let mut table = Table::new("targets", title, "make bench-compare", &columns).await?;
    table.note(format!(
        "YCSB-B (95% GET), 10^6 keys, values of 128 bytes, zipfian 0.99, 64 workers, 4 \
         connections, unless a row says otherwise; server and client share the cores with -threads \
         {} each, and 64 plain callers have all of them; runs of {secs} s in interleaved rounds, \
         every second one in the opposite order",
        field.half
    ));
    table.note(
        "Median to maximum: of the ratio of ours to the peer, round by round, or of the figure \
         that the row names. The quartile has to meet the target: the lower one where the bound is \
         at least, the upper one where it is at most",
    );
    table.note(
        "redis-benchmark found every key; kvs-client drives a peer at the batch size and with the \
         threads that a trial found best",
    );
    field.note_peers(&mut table);
    let benchmark = match field.redis {
        Some(_) => Some(RedisBenchmark::start(&field.stores, secs).await?),
        None => None,
    };
    let contenders = contenders(field).await?;
    let mut targets = Targets { field, contenders, pairs, secs, table, benchmark };
    for group in GROUPS {
        let mut names: Vec<&str> = Vec::new();
        for name in group.iter().flat_map(|(_, ours, peer)| [ours, peer]) {
            if !names.contains(name) {
                names.push(name);
            }
        }
        let rounds = targets.rounds(&names).await?;
        group.iter().for_each(|(aim, ours, peer)| targets.ratio(&rounds, *aim, [ours, peer]));
    }
    targets.of_ours(&memory).await?;
    if let Some(benchmark) = &targets.benchmark {
        benchmark.must_have_found_all().await?;
    }
    targets.table.write().map(drop)
}

/// Who is measured.
struct Contender<'a> {
    who: Who<'a>,
    /// How rows tell of it.
    words: String,
    flags: String,
}

#[derive(Clone, Copy)]
enum Who<'a> {
    /// A store, if it is there, driven by kvs-client.
    Driven(Option<&'a Store>),
    /// Redis, driven by redis-benchmark.
    Benchmarked,
}

/// All of them by their names; how kvs-client drives a peer fastest is tried out.
async fn contenders(field: &Field) -> anyhow::Result<HashMap<&'static str, Contender<'_>>> {
    let benchmarked = BENCHMARKED.map(|(name, flags)| {
        let words = format!("GET only, uniform keys, redis-benchmark {flags}");
        (name, Contender { who: Who::Benchmarked, words, flags: flags.to_owned() })
    });
    let ours = OURS.map(|(name, words, flags)| {
        // Plain callers have all cores.
        let half =
            if flags.starts_with("-plain") { "" } else { &format!("-threads {} ", field.half) };
        let who = Who::Driven(Some(&field.ours));
        (name, Contender { who, words: words.to_owned(), flags: format!("{half}{flags}") })
    });
    let (redis, memcached) = (field.redis.as_ref(), field.memcached.as_ref());
    let alone = "-batch_size 1 -workers 1 -threads 1 -connections 1";
    let driven = [
        ("redis_driven", redis, best(field, redis).await?, ""),
        ("redis_driven_one_caller", redis, (", one caller".to_owned(), alone.to_owned()), ""),
        ("memcached_driven", memcached, best(field, memcached).await?, ", multigets"),
    ];
    let driven = driven.map(|(name, store, (how, flags), more)| {
        let words = format!("kvs-client, the same work{how}{more}");
        (name, Contender { who: Who::Driven(store), words, flags })
    });
    Ok(benchmarked.into_iter().chain(ours).chain(driven).collect())
}

/// How kvs-client drives a peer fastest, in words and in flags; neither if it is not there.
async fn best(field: &Field, peer: Option<&Store>) -> anyhow::Result<(String, String)> {
    let (mut best, mut most) = ((String::new(), String::new()), 0.0);
    let Some(peer) = peer else { return Ok(best) };
    let name = peer.url.split(':').next().unwrap_or_default();
    for (batch, threads) in [100, 1000, 10_000].into_iter().flat_map(|it| [(it, 1), (it, 2)]) {
        let flags = format!("-batch_size {batch} -threads {threads}");
        let ops_s = field.client(peer, 1.0, &flags).await?.operations_per_second;
        say!("  trial of {name}, batch {batch}, client threads {threads}: {ops_s:.0} op/s");
        if ops_s > most {
            let words = format!(", batch {}, -threads {threads}", grouped(f64::from(batch)));
            (best, most) = ((words, flags), ops_s);
        }
    }
    Ok(best)
}

/// The runs of each contender that was there.
type Rounds = HashMap<&'static str, Vec<Figures>>;

/// One of the figures of a contender's runs; empty if there are none.
fn figures(rounds: &Rounds, name: &str, figure: impl Fn(&Figures) -> f64) -> Vec<f64> {
    rounds.get(name).into_iter().flatten().map(figure).collect()
}

fn median(figures: &[f64]) -> Option<f64> {
    Spread::of(figures).map(|spread| spread.median)
}

struct Targets<'a> {
    field: &'a Field,
    contenders: HashMap<&'static str, Contender<'a>>,
    pairs: u32,
    secs: f64,
    table: Table,
    benchmark: Option<RedisBenchmark>,
}

impl Targets<'_> {
    /// Measures those that are there in rounds.
    async fn rounds(&mut self, names: &[&'static str]) -> anyhow::Result<Rounds> {
        let Self { field, contenders, benchmark, secs, .. } = self;
        let is_there = |name: &&&str| match contenders[**name].who {
            Who::Driven(store) => store.is_some(),
            Who::Benchmarked => field.redis.is_some(),
        };
        let names: Vec<&str> = names.iter().filter(is_there).copied().collect();
        let runs = measured(self.pairs, &names, async |&name| {
            let Contender { who, flags, .. } = &contenders[name];
            match (who, benchmark.as_mut()) {
                (Who::Benchmarked, Some(benchmark)) => benchmark.get(flags).await,
                (Who::Driven(Some(store)), _) => {
                    Ok(Figures::from(&field.client(store, *secs, flags).await?))
                }
                (_, _) => unreachable!("{name} is not there and was left out"),
            }
        });
        Ok(names.iter().copied().zip(runs.await?).collect())
    }

    /// What ours must not lose by the shape of its load.
    async fn of_ours(&mut self, memory: &[f64]) -> anyhow::Result<()> {
        let rounds = self.rounds(&[&SIZES[..], &["ours_1024_workers"]].concat()).await?;
        let rate = |name: &&str| median(&figures(&rounds, name, |run| run.ops_s)).unwrap_or(0.0);
        let mut by_rate = SIZES;
        by_rate.sort_by(|a, b| rate(a).total_cmp(&rate(b)));
        let [slowest, .., fastest] = by_rate;
        self.ratio(&rounds, at_least(OF_SIZES, 0.85, 0.95), [slowest, fastest]);
        let many = ["ours_1024_workers", "ours_10000"];
        self.ratio(&rounds, at_least("1,024 workers over 64", 0.9, 1.0), many);
        let bytes = figures(&rounds, "ours_10000", |run| run.wire_bytes);
        let wire = at_most("wire bytes of an operation, both ways", 90.0, 82.0);
        self.row(wire, ["batch 10,000", ""], [None; 2], &bytes);
        let resident = at_most("resident memory over keys and values", 1.6, 1.3);
        let keys = format!("10^6 keys of {KEY_BYTES} bytes loaded");
        self.row(resident, [&keys, ""], [None; 2], memory);
        Ok(())
    }

    /// A row of one contender's throughput over another's, or of its median latency.
    fn ratio(&mut self, rounds: &Rounds, aim: Aim, names: [&str; 2]) {
        let is_rate = aim.bound == Bound::AtLeast;
        let figure = |run: &Figures| if is_rate { run.ops_s } else { run.p50_us };
        let [over, under] = names.map(|name| figures(rounds, name, figure));
        let medians = [median(&over), median(&under)];
        let mut words = names.map(|name| self.contenders[name].words.clone());
        if names[1].starts_with("ours") {
            words[1].insert_str(0, "ours, ");
        }
        if !is_rate {
            for (words, median) in words.iter_mut().zip(medians) {
                *words += &median.map_or_else(String::new, |us| format!(": {us} µs"));
            }
        }
        let ops_s = if is_rate { medians.map(|it| it.map(f64::round)) } else { [None; 2] };
        let ratios = if under.is_empty() { Vec::new() } else { ratios(&over, &under) };
        self.row(aim, [&words[0], &words[1]], ops_s, &ratios);
    }

    /// Adds a row of figures, one a round, and prints it; there are none if it was not run.
    fn row(&mut self, aim: Aim, words: [&str; 2], ops_s: [Option<f64>; 2], figures: &[f64]) {
        let Aim { measure, bound, target, aim } = aim;
        let bound_words = if bound == Bound::AtLeast { "at least" } else { "at most" };
        let [ours, peer] = words.map(|words| Some(words).filter(|words| !words.is_empty()));
        let mut row = cells![measure, ours, peer, self.pairs, ops_s[0], ops_s[1]];
        let met = match judged(bound, target, figures) {
            None => {
                row.extend([const { Cell::Empty }; 4]);
                "not run"
            }
            Some((spread, quartile, met)) => {
                let told = [spread.median, quartile, spread.min, spread.max];
                let [median, quartile, ..] = told.map(|figure| significant(figure, DIGITS));
                row.extend(told.map(|figure| significant(figure, DIGITS).into()));
                let met = if met { "yes" } else { "no" };
                let words = words.join("; ");
                let words = words.trim_end_matches("; ");
                say!(
                    "{measure} ({words}): {median}, quartile {quartile}; \
                     {bound_words} {target}: {met}"
                );
                met
            }
        };
        self.table.row(row.into_iter().chain(cells![bound_words, target, aim, met]));
    }
}

/// How the figures are spread, the quartile that has to meet the target, and whether it does;
/// `None` without figures. The upper quartile has to be at most the target, the lower one at least.
fn judged(bound: Bound, target: f64, figures: &[f64]) -> Option<(Spread, f64, bool)> {
    let spread = Spread::of(figures)?;
    Some(match bound {
        Bound::AtLeast => (spread, spread.lower, spread.lower >= target),
        Bound::AtMost => (spread, spread.upper, spread.upper <= target),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(bound: Bound, target: f64) -> (f64, bool) {
        let (_, quartile, met) = judged(bound, target, &[4.0, 1.0, 3.0, 2.5]).unwrap();
        (quartile, met)
    }

    #[test]
    fn the_quartile_on_the_worse_side_has_to_meet_the_target() {
        assert_eq!(verdict(Bound::AtLeast, 2.125), (2.125, true));
        assert_eq!(verdict(Bound::AtLeast, 2.2), (2.125, false));
        assert_eq!(verdict(Bound::AtMost, 3.25), (3.25, true));
        assert_eq!(verdict(Bound::AtMost, 3.2), (3.25, false));
        assert!(judged(Bound::AtMost, 1.0, &[]).is_none());
    }

    #[test]
    fn who_was_not_there_has_no_figures() {
        let runs = [10.0, 40.0].map(|ops_s| Figures { ops_s, ..Figures::default() });
        let rounds = Rounds::from([("a", runs.to_vec())]);
        assert_eq!(median(&figures(&rounds, "a", |run| run.ops_s)), Some(25.0));
        assert_eq!(median(&figures(&rounds, "b", |run| run.ops_s)), None);
    }

    #[test]
    fn rows_name_contenders() {
        let driven = ["redis_driven", "redis_driven_one_caller", "memcached_driven"];
        let known: Vec<&str> = (OURS.iter().map(|it| it.0))
            .chain(BENCHMARKED.iter().map(|it| it.0))
            .chain(driven)
            .collect();
        for (_, ours, peer) in GROUPS.into_iter().flatten() {
            assert!(known.contains(ours) && known.contains(peer), "{ours}, {peer}");
        }
        assert!(SIZES.iter().all(|name| known.contains(name)));
    }
}
