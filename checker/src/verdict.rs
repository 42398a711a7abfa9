//! What a check tells: the report, in words and as JSON.

use std::fmt::{self, Write as _};

use serde::Serialize;

use crate::event::{Event, NEVER, Rule, UNORDERED};
use crate::history::{Kind, Outcome, Value};
use crate::load::Tables;
use crate::part::Found;

/// What a check concludes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Every operation was checked, and some legal order explains them all.
    Linearizable,
    /// Some operations contradict each other.
    Violation,
    /// Some operations could not be decided in time or space. That is never a pass.
    Undecided,
}

/// The result of a check. Counts are of operations unless the name says otherwise.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The conclusion.
    pub verdict: Verdict,
    /// The conclusion in one line.
    pub conclusion: String,
    /// Operations in the histories.
    pub recorded: u64,
    /// Operations of keys that were decided, one way or the other.
    pub checked: u64,
    /// Keys in the histories.
    pub keys: u64,
    /// Operations proved right by the servers' order.
    pub by_witness: u64,
    /// Operations proved right by the sweep.
    pub by_sweep: u64,
    /// Operations proved right by the search.
    pub by_search: u64,
    /// Operations that provably were not executed.
    pub failed: u64,
    /// Operations with unknown outcome.
    pub unknown: u64,
    /// Keys that needed the search.
    pub keys_by_search: u64,
    /// Keys that could not be decided.
    pub keys_undecided: u64,
    /// Keys whose operations contradict each other.
    pub keys_violating: u64,
    /// Keys for which the servers reported an order that is not legal, although a legal one exists:
    /// a fault of the servers' numbers, not of their answers.
    pub keys_mismatched: u64,
    /// Median time from invocation to response, in microseconds. A check is blind to faults that
    /// are shorter than the operations' own intervals.
    pub interval_us_median: f64,
    /// Greatest time from invocation to response, in microseconds.
    pub interval_us_max: f64,
    /// Operations open at a time, on average.
    pub concurrency: f64,
    /// Server restarts that the histories saw.
    pub restarts: u64,
    /// Files that were cut off.
    pub truncated_files: u64,
    /// Bytes that did not fit into memory and went to disk.
    pub spilled_bytes: u64,
    /// Most memory that this process had by then, in bytes; 0 where the system does not tell.
    pub memory_bytes_peak: u64,
    /// Time that the check took, in seconds.
    pub seconds: f64,
    /// Some of the violations, at most a handful.
    pub violations: Vec<Violation>,
}

/// Operations of one key that contradict each other.
#[derive(Clone, Debug, Serialize)]
pub struct Violation {
    /// The key, as text.
    pub key: String,
    /// The rule that they break.
    pub rule: Rule,
    /// The rule in words.
    pub meaning: String,
    /// The operations, by invocation: no smaller set of them contradicts itself, as far as could
    /// be found in time.
    pub operations: Vec<ShownOperation>,
}

/// An operation of a violation.
#[derive(Clone, Debug, Serialize)]
pub struct ShownOperation {
    /// Its client.
    pub client: u32,
    /// Its worker in the client.
    pub worker: Option<u32>,
    /// Its stamp, where it has one.
    pub stamp: Option<u64>,
    /// What it did, in words.
    pub operation: String,
    /// When it was invoked, in microseconds since the first of them.
    pub inv_us: f64,
    /// When it had its response, likewise.
    pub res_us: Option<f64>,
    /// What became of it: `ok`, `fail` or `unknown`.
    pub outcome: &'static str,
    /// Whether it may have changed the key.
    pub is_mutation: bool,
}

impl Violation {
    pub(crate) fn new(found: &Found, tables: &Tables) -> Self {
        let start = found.events.iter().map(|event| event.inv).min().unwrap_or(0);
        let show = |event: &Event| show(event, start, tables);
        let rule = found.contradiction.rule;
        Self {
            key: String::from_utf8_lossy(&found.key).into_owned(),
            rule,
            meaning: rule.meaning().to_owned(),
            operations: found.events.iter().map(show).collect(),
        }
    }
}

fn show(event: &Event, start: i64, tables: &Tables) -> ShownOperation {
    let worker = &tables.workers[(event.worker & !UNORDERED) as usize];
    let since = |time: i64| time.saturating_sub(start) as f64 / 1000.0;
    let value = |value: Value| match value {
        Value::NotKnown => "?".to_owned(),
        Value::Missing => "missing".to_owned(),
        Value::Present => "some value".to_owned(),
        Value::Id { client, stamp } => match tables.ids.text(stamp) {
            Some(text) => text.to_owned(),
            None => format!("{client}-{stamp}"),
        },
        Value::Number(number) => number.to_string(),
        Value::Foreign => "a foreign value".to_owned(),
    };
    let (read, written) = (value(event.read), value(event.written));
    let operation = match event.kind {
        Kind::Get => format!("get = {read}"),
        Kind::Put => format!("put {written}"),
        Kind::Delete if event.read == Value::NotKnown => format!("delete, leaving {written}"),
        Kind::Delete => format!("delete of {read}, leaving {written}"),
        Kind::CompareAndSwap if event.written == Value::NotKnown => format!("cas saw {read}"),
        Kind::CompareAndSwap => format!("cas {read} to {written}"),
        Kind::Increment => format!("incr by {} = {written}", event.by),
    };
    ShownOperation {
        client: worker.client,
        worker: worker.number,
        stamp: worker.is_ordered.then_some(event.stamp),
        operation,
        inv_us: since(event.inv),
        res_us: (event.res != NEVER).then(|| since(event.res)),
        outcome: match event.outcome {
            Outcome::Ok => "ok",
            Outcome::Fail => "fail",
            Outcome::Unknown => "unknown",
        },
        is_mutation: event.is_mutation(),
    }
}

impl ShownOperation {
    /// Who asked for it.
    pub(crate) fn who(&self) -> String {
        let worker = self.worker.map_or(String::new(), |worker| format!(".{worker}"));
        let stamp = self.stamp.map_or(String::new(), |stamp| format!(" #{stamp}"));
        format!("{}{worker}{stamp}", self.client)
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "key {:?}: {}", self.key, self.meaning)?;
        let rows: Vec<[String; 5]> = std::iter::once(
            ["client.worker #stamp", "operation", "from_us", "to_us", "outcome"].map(str::to_owned),
        )
        .chain(self.operations.iter().map(|operation| {
            [
                operation.who(),
                operation.operation.clone(),
                format!("{:.3}", operation.inv_us),
                operation.res_us.map_or("?".to_owned(), |res| format!("{res:.3}")),
                operation.outcome.to_owned(),
            ]
        }))
        .collect();
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
        let widths: Vec<usize> = (0..5).map(|column| width(column).unwrap_or(0)).collect();
        for row in &rows {
            let mut line = String::from("  ");
            for (column, (text, width)) in row.iter().zip(&widths).enumerate() {
                let is_number = matches!(column, 2 | 3);
                let padded = if is_number {
                    format!("{text:>width$}  ")
                } else {
                    format!("{text:<width$}  ")
                };
                let _ = write!(line, "{padded}");
            }
            writeln!(formatter, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for violation in &self.violations {
            writeln!(formatter, "{violation}")?;
        }
        let unshown = self.keys_violating.saturating_sub(self.violations.len() as u64);
        if unshown > 0 {
            writeln!(formatter, "and {unshown} more keys like these\n")?;
        }
        let mut line = |name: &str, text: String| writeln!(formatter, "{name:<12}  {text}");
        line(
            "operations",
            format!(
                "{} recorded, {} checked ({} failed, {} unknown)",
                self.recorded, self.checked, self.failed, self.unknown
            ),
        )?;
        line(
            "keys",
            format!(
                "{} ({} by search, {} undecided, {} violating)",
                self.keys, self.keys_by_search, self.keys_undecided, self.keys_violating
            ),
        )?;
        line(
            "decided",
            format!(
                "{} by witness, {} by sweep, {} by search",
                self.by_witness, self.by_sweep, self.by_search
            ),
        )?;
        line(
            "intervals",
            format!(
                "{:.1} us median, {:.1} us max; faults shorter than that can't be seen",
                self.interval_us_median, self.interval_us_max
            ),
        )?;
        line("concurrency", format!("{:.1} operations at a time", self.concurrency))?;
        let mebibytes = self.memory_bytes_peak >> 20;
        line("time", format!("{:.2} s, {mebibytes} MiB of memory at most", self.seconds))?;
        if self.keys_mismatched > 0 {
            line(
                "warning",
                format!(
                    "on {} keys the order that the servers reported is not a legal one",
                    self.keys_mismatched
                ),
            )?;
        }
        if self.truncated_files > 0 {
            line(
                "warning",
                format!(
                    "{} files are cut off; what they lost was taken as unknown",
                    self.truncated_files
                ),
            )?;
        }
        line("verdict", self.conclusion.clone())
    }
}
