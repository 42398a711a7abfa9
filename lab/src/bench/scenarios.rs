//! The scenarios that key-value stores publish. Servers and clients share this machine.
//!
//! A scenario starts and loads its servers. Its table's rows are medians of what is measured in
//! rounds at their points.

use std::fmt;
use std::path::Path;

use clap::ValueEnum;
use report::result::ratio;
use report::results::Cell;
use report::statistics::{Spread, significant};

use crate::measure::rounds::{Figures, measured, spread};
use crate::measure::seconds;
use crate::measure::stores::{Store, Stores};
use crate::measure::table::{Table, cells, cores};
use crate::say::say;
use crate::tied;

/// Operations of a stream, on average.
const STREAM_OPERATIONS: u32 = 100;

/// What clients of large values take.
const LARGE: &str = "-keys 1000 -value_size 65536 -distribution uniform -workers 8";

/// Flags of `scenarios`.
#[derive(clap::Args)]
pub(crate) struct Scenarios {
    /// Which; all if none is named
    #[arg(value_name = "NAME")]
    names: Vec<Scenario>,
    /// Rounds over a scenario's points, every second one in the opposite order
    #[arg(long, env = "REPEATS", default_value_t = 3,
        value_parser = clap::value_parser!(u32).range(1..))]
    repeats: u32,
    /// Seconds of each run
    #[arg(long, env = "SECS", default_value_t = 1.0, value_parser = seconds)]
    secs: f64,
}

#[derive(Clone, Copy, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Scenario {
    /// What a pool of 4 connections costs or brings over one
    Pool,
    /// 8 to 64 workers over 2 and 4 connections, 2 client threads
    Workers,
    /// 1 to 8 client threads over 1 to 10,000 streams of 100 operations
    Streams,
    /// 1 to 16 client processes against a server with one thread, and with all cores
    Processes,
    /// Values of 64 KiB
    Large,
    /// Servers inside the client's process, beside TCP
    InProcess,
    /// A network that delays by 0 to 10 ms each way
    Delay,
}

impl Scenarios {
    /// Measures.
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let all = Scenario::value_variants();
        let names = if self.names.is_empty() { all } else { &self.names };
        let bench =
            Bench { stores: Stores::build().await?, repeats: self.repeats, secs: self.secs };
        for name in names {
            match name {
                Scenario::Pool => bench.pool().await?,
                Scenario::Workers => bench.workers().await?,
                Scenario::Streams => bench.streams().await?,
                Scenario::Processes => bench.processes().await?,
                Scenario::Large => bench.large().await?,
                Scenario::InProcess => bench.in_process().await?,
                Scenario::Delay => bench.delay().await?,
            }
        }
        Ok(())
    }
}

/// What measures in rounds of so many seconds.
pub(super) struct Bench {
    pub(super) stores: Stores,
    pub(super) repeats: u32,
    pub(super) secs: f64,
}

/// A row that is to be measured: its first cells, and the points that the others come of.
pub(super) struct Row {
    pub(super) cells: Vec<Cell>,
    pub(super) points: Vec<Point>,
}

/// What is measured round by round.
pub(super) struct Point {
    /// Its name beside the row's others.
    label: String,
    /// The servers, as `-hosts` takes them.
    hosts: String,
    /// The client's flags.
    flags: String,
    /// Clients at the same time, each a process.
    processes: u32,
}

/// A point with the first cells of its row.
struct Named<'a>(&'a Row, &'a Point);

impl fmt::Display for Named<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = self.0.cells.iter().map(Cell::text).chain([self.1.label.clone()]);
        formatter.pad(words.collect::<Vec<_>>().join(" ").trim_end())
    }
}

/// Every pair of the two lists, the second one's elements in turn.
fn grid<A: Copy, B: Copy>(first: &[A], second: &[B]) -> Vec<(A, B)> {
    first.iter().flat_map(|&a| second.iter().map(move |&b| (a, b))).collect()
}

/// Figures of a point's runs, each a median in whole numbers or an end.
pub(super) type Figure = fn(&[Figures]) -> f64;
pub(super) const OPS_S: Figure = |runs| spread(runs, |run| run.ops_s).median.round();
const OPS_S_MIN: Figure = |runs| spread(runs, |run| run.ops_s).min.round();
const OPS_S_MAX: Figure = |runs| spread(runs, |run| run.ops_s).max.round();
pub(super) const P50_US: Figure = |runs| spread(runs, |run| run.p50_us).median.round();
pub(super) const P99_US: Figure = |runs| spread(runs, |run| run.p99_us).median.round();

/// These figures of each of a row's points.
pub(super) fn each(runs: &[Vec<Figures>], figures: &[Figure]) -> Vec<Cell> {
    runs.iter().flat_map(|runs| figures.iter().map(|figure| figure(runs).into())).collect()
}

impl Bench {
    /// One of our servers.
    pub(super) async fn serve(&self, flags: &[&str]) -> anyhow::Result<Store> {
        self.stores.ours(&[&["-stats_secs", "0"], flags].concat()).await
    }

    /// A server with all keys that clients with these flags ask for.
    async fn loaded(&self, server_flags: &[&str], flags: &str) -> anyhow::Result<Store> {
        let server = self.serve(server_flags).await?;
        self.load(&server.url, flags).await?;
        Ok(server)
    }

    async fn load(&self, hosts: &str, flags: &str) -> anyhow::Result<()> {
        let flags = format!("-operations 1 -warmup_secs 0 {flags}");
        self.stores.client(hosts, flags.split_whitespace()).await.map(drop)
    }

    /// A point of loaded servers that is measured for the seconds of a run.
    pub(super) fn point(&self, label: &str, hosts: &str, flags: &str) -> Point {
        let flags = format!("-warmup_secs 0.3 -secs {} {flags}", self.secs);
        Point { label: label.to_owned(), hosts: hosts.to_owned(), flags, processes: 1 }
    }

    /// Measures a table: its name, title, columns and note; the command that does so; and its rows,
    /// of which `figures` tells the further cells, from the runs of each of a row's points.
    pub(super) async fn measured(
        &self,
        command: &str,
        [name, title, columns, note]: [&str; 4],
        rows: impl IntoIterator<Item = Row>,
        mut figures: impl FnMut(&[Vec<Figures>]) -> Vec<Cell>,
    ) -> anyhow::Result<Table> {
        say!("\n{name}: {title}");
        let mut table = Table::new(name, title, command, &[columns]).await?;
        let rows: Vec<Row> = rows.into_iter().collect();
        let points = rows.iter().flat_map(|row| row.points.iter().map(move |it| Named(row, it)));
        let points: Vec<Named<'_>> = points.collect();
        let runs = measured(self.repeats, &points, async |point| self.run(point.1).await);
        let mut runs = &runs.await?[..];
        for row in &rows {
            let (of_row, others) = runs.split_at(row.points.len());
            table.row(row.cells.iter().cloned().chain(figures(of_row)));
            runs = others;
        }
        table.note(note);
        Ok(table)
    }

    /// Measures and writes a scenario's table.
    async fn measure(
        &self,
        told: [&str; 4],
        rows: impl IntoIterator<Item = Row>,
        figures: impl FnMut(&[Vec<Figures>]) -> Vec<Cell>,
    ) -> anyhow::Result<()> {
        let command = format!("kvs-lab scenarios {}", told[0]);
        let mut table = self.measured(&command, told, rows, figures).await?;
        let repeats = self.repeats;
        table.note(format!("medians of {repeats} runs; servers and clients share the machine"));
        table.write().map(drop)
    }

    /// One run of all of a point's processes.
    async fn run(&self, point: &Point) -> anyhow::Result<Figures> {
        let Point { hosts, flags, processes, .. } = point;
        let run = format!("-preload=false {flags}");
        if *processes == 1 {
            return Ok(Figures::from(&self.stores.client(hosts, run.split_whitespace()).await?));
        }
        let run_id = jiff::Timestamp::now().as_nanosecond();
        let run = format!("{run} -run_id {run_id} -client_count {processes} -client_index");
        let client = |index: u32| {
            let index = index.to_string();
            self.stores.client(hosts, run.split_whitespace().chain([&*index]))
        };
        let clients: Vec<_> = (1..=*processes).map(client).collect();
        // Latencies of several clients have no sum.
        let mut sum = Figures::default();
        for client in clients {
            sum.ops_s += client.await?.operations_per_second;
        }
        Ok(sum)
    }

    async fn pool(&self) -> anyhow::Result<()> {
        let server = self.loaded(&[], "").await?;
        let loads = [("batches of 1,000", "-batch_size 1000"), ("plain calls", "-plain")];
        let rows = loads.map(|(load, flags)| {
            let point = |connections: u32| {
                let flags = format!("{flags} -connections {connections}");
                self.point(&format!("over {connections}"), &server.url, &flags)
            };
            Row { cells: cells![load], points: vec![point(1), point(4)] }
        });
        let told = [
            "pool",
            "A pool of 4 connections against one",
            "load one:op/s pool_of_4:op/s overhead:% overhead_min:% overhead_max:%",
            "YCSB-B, 64 workers; overhead: what the pool loses of the throughput over one \
             connection, in interleaved pairs; below zero it gains",
        ];
        let figures = |runs: &[Vec<Figures>]| {
            let pairs = runs[0].iter().zip(&runs[1]);
            let lost = pairs.map(|(one, pool)| 1.0 - ratio(pool.ops_s, one.ops_s));
            let lost: Vec<f64> = lost.map(|part| (1000.0 * part).round() / 10.0).collect();
            let lost = Spread::of(&lost).expect("there are runs");
            [each(runs, &[OPS_S]), cells![lost.median, lost.min, lost.max]].concat()
        };
        self.measure(told, rows, figures).await
    }

    async fn workers(&self) -> anyhow::Result<()> {
        let server = self.loaded(&[], "").await?;
        let rows = grid(&[8_u32, 16, 32, 64], &[2_u32, 4]);
        let rows = rows.into_iter().map(|(workers, connections)| {
            let shape = format!("-workers {workers} -connections {connections}");
            let flags = format!("-threads 2 -batch_size 1000 {shape}");
            let point = self.point("", &server.url, &flags);
            Row { cells: cells![workers, connections], points: vec![point] }
        });
        let told = [
            "workers",
            "Workers over connections",
            "workers connections ops_s:op/s min:op/s max:op/s p50:us p99:us",
            "YCSB-B, batches of 1,000, 2 client threads",
        ];
        let figures = [OPS_S, OPS_S_MIN, OPS_S_MAX, P50_US, P99_US];
        self.measure(told, rows, |runs| each(runs, &figures)).await
    }

    /// A loaded server with one thread and one with all cores, each with its threads.
    async fn single_and_multi_threaded(&self) -> anyhow::Result<[(u32, Store); 2]> {
        let cores = cores();
        let single = self.loaded(&["-threads", "1"], "").await?;
        let multi = self.loaded(&["-threads", &cores.to_string()], "").await?;
        Ok([(1, single), (cores, multi)])
    }

    async fn streams(&self) -> anyhow::Result<()> {
        let [(_, single), (cores, multi)] = self.single_and_multi_threaded().await?;
        let rows =
            grid(&[("single-threaded", &single), ("multi-threaded", &multi)], &[1_u32, 2, 4, 8]);
        let rows = rows.into_iter().map(|((name, server), threads)| {
            let point = |streams: u32| {
                let operations = streams * STREAM_OPERATIONS;
                let load = format!("-workers {streams} -operations {operations}");
                let flags = format!("-plain -warmup_secs 0.2 -threads {threads} {load}");
                Point { flags, ..self.point(&streams.to_string(), &server.url, "") }
            };
            Row { cells: cells![name, threads], points: [1, 100, 1000, 10_000].map(point).into() }
        });
        let told = [
            "streams",
            "Streams over client threads",
            "server client_threads 1_stream:op/s 100_streams:op/s 1000_streams:op/s \
             10000_streams:op/s",
            &format!(
                "YCSB-B; each stream makes one plain call at a time, {STREAM_OPERATIONS} on \
                 average; the server has 1 thread or {cores}"
            ),
        ];
        self.measure(told, rows, |runs| each(runs, &[OPS_S])).await
    }

    async fn processes(&self) -> anyhow::Result<()> {
        let servers = self.single_and_multi_threaded().await?;
        let counts = [1, 2, 4, 8, 16];
        let rows =
            grid(&servers.each_ref(), &counts).into_iter().map(|((threads, server), processes)| {
                let point = self.point("", &server.url, "-threads 1 -workers 16 -batch_size 100");
                Row {
                    cells: cells![*threads, processes],
                    points: vec![Point { processes, ..point }],
                }
            });
        let told = [
            "processes",
            "Client processes against one server",
            "server_threads processes ops_s:op/s min:op/s max:op/s scaling:times",
            "YCSB-B; each process has one thread, 16 workers and batches of 100; all measure in \
             the same window",
        ];
        let mut rates = Vec::new();
        let figures = |runs: &[Vec<Figures>]| {
            rates.push(OPS_S(&runs[0]));
            let (index, rate) = (rates.len() - 1, rates[rates.len() - 1]);
            let scaling = ratio(rate, rates[index - index % counts.len()]);
            let figures = each(runs, &[OPS_S, OPS_S_MIN, OPS_S_MAX]);
            [figures, cells![significant(scaling, 3)]].concat()
        };
        self.measure(told, rows, figures).await
    }

    async fn large(&self) -> anyhow::Result<()> {
        let server = self.loaded(&[], LARGE).await?;
        let rows = grid(&["get", "put"], &[10_u32, 100]).into_iter().map(|(operation, size)| {
            let flags = format!("{LARGE} -mix {operation}=100 -batch_size {size}");
            let point = self.point("", &server.url, &flags);
            Row { cells: cells![operation, size], points: vec![point] }
        });
        let told = [
            "large",
            "Values of 64 KiB",
            "operation batch_size ops_s:op/s payload:B/s p50:us p99:us",
            "1,000 keys, chosen uniformly; 8 workers; payload: the values alone",
        ];
        let payload: Figure = |runs| 65536.0 * OPS_S(runs);
        self.measure(told, rows, |runs| each(runs, &[OPS_S, payload, P50_US, P99_US])).await
    }

    async fn in_process(&self) -> anyhow::Result<()> {
        let one = self.loaded(&[], "").await?;
        let shards = [self.serve(&["-shard", "1/2"]).await?, self.serve(&["-shard", "2/2"]).await?];
        let two = shards.each_ref().map(|shard| &*shard.url).join(",");
        self.load(&two, "").await?;
        let places = [
            ("tcp", 1_u32, &*one.url),
            ("tcp", 2, &*two),
            ("mem", 1, "mem:1"),
            ("mem", 2, "mem:2"),
        ];
        let rows = places.map(|(place, servers, hosts)| {
            // A server inside the process begins empty.
            let load = if place == "mem" { "-preload=true" } else { "" };
            let point = |name, flags| self.point(name, hosts, &format!("{flags} {load}"));
            let points = vec![point("batches", "-batch_size 10000"), point("plain", "-plain")];
            Row { cells: cells![place, servers], points }
        });
        let told = [
            "in_process",
            "Servers inside the client's process, beside TCP",
            "place servers batch_10000:op/s plain_64_callers:op/s",
            "YCSB-B, 64 workers; servers inside the process share its threads",
        ];
        self.measure(told, rows, |runs| each(runs, &[OPS_S])).await
    }

    async fn delay(&self) -> anyhow::Result<()> {
        let proxy = self.stores.example("faults", "delay-proxy").await?;
        let server = self.loaded(&[], "").await?;
        let loads = [
            ("caller", "-plain -workers 1"),
            ("callers", "-plain"),
            ("batches", "-batch_size 1000"),
        ];
        let (mut proxies, mut rows) = (Vec::new(), Vec::new());
        for delay_us in [0, 100, 1000, 10_000] {
            let command = |port_file: &Path| {
                let mut command = tied::command(&proxy);
                command.args([&server.url, &delay_us.to_string()]).arg(port_file);
                command
            };
            let proxy = self.stores.with_port_file("delay-proxy", "", command).await?;
            let points = loads.map(|(name, flags)| self.point(name, &proxy.url, flags)).into();
            rows.push(Row { cells: cells![f64::from(delay_us) / 1000.0], points });
            proxies.push(proxy);
        }
        let told = [
            "delay",
            "A network with delay",
            "each_way:ms one_caller:calls/s one_caller_p50:us 64_callers:calls/s 64_callers_p50:us \
             batch_1000:op/s batch_1000_p50:us",
            "YCSB-B through a proxy on the same machine that holds back what passes, each way by \
             this time; 64 workers send the batches of 1,000",
        ];
        self.measure(told, rows, |runs| each(runs, &[OPS_S, P50_US])).await
    }
}
