//! The scenarios that key-value stores publish. Servers and clients share this machine.
//!
//! A scenario starts and loads its servers, and then measures its points in rounds; its table holds
//! the medians.

use clap::ValueEnum;
use report::result::ratio;
use report::statistics::{Spread, significant};

use crate::measure::rounds::{Figures, measured, spread};
use crate::measure::seconds;
use crate::measure::stores::{Store, Stores};
use crate::measure::table::{Table, cells, cores};

/// Operations of a stream, on average.
const STREAM_OPERATIONS: u32 = 100;

/// What clients of large values take.
const LARGE: &str = "-keys 1000 -value_size 65536 -distribution uniform -workers 8";

/// Bytes of a large value.
const LARGE_BYTES: f64 = 65536.0;

/// Flags of `scenarios`.
#[derive(clap::Args)]
pub(crate) struct Scenarios {
    /// Which; all if none is named
    #[arg(value_name = "NAME")]
    names: Vec<Scenario>,
    /// Rounds over a scenario's points, every second one in the opposite order
    #[arg(long, env = "REPEATS", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
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

struct Bench {
    stores: Stores,
    repeats: u32,
    secs: f64,
}

/// What is measured round by round.
#[derive(Clone)]
struct Point {
    /// Its name among the others.
    label: String,
    /// The servers, as `-hosts` takes them.
    hosts: String,
    /// The client's flags.
    flags: String,
    /// Clients at the same time, each a process.
    processes: u32,
}

impl std::fmt::Display for Point {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.label)
    }
}

/// Every pair of the two lists, the second one's elements in turn.
fn grid<A: Copy, B: Copy>(first: &[A], second: &[B]) -> Vec<(A, B)> {
    first.iter().flat_map(|&a| second.iter().map(move |&b| (a, b))).collect()
}

/// The median, in whole numbers; so with the next two.
fn ops_s(runs: &[Figures]) -> f64 {
    spread(runs, |run| run.ops_s).median.round()
}

fn p50_us(runs: &[Figures]) -> f64 {
    spread(runs, |run| run.p50_us).median.round()
}

fn p99_us(runs: &[Figures]) -> f64 {
    spread(runs, |run| run.p99_us).median.round()
}

/// The lowest and the highest throughput.
fn ends(runs: &[Figures]) -> (f64, f64) {
    let Spread { min, max, .. } = spread(runs, |run| run.ops_s);
    (min.round(), max.round())
}

impl Bench {
    /// Begins a scenario's table.
    async fn table(&self, name: &str, title: &str, columns: &[&str]) -> anyhow::Result<Table> {
        println!("\n{name}: {title}");
        Table::new(name, title, &format!("kvs-lab scenarios {name}"), columns).await
    }

    /// Ends it.
    fn write(&self, mut table: Table, note: &str) -> anyhow::Result<()> {
        table.note(note);
        let repeats = self.repeats;
        table.note(format!("medians of {repeats} runs; servers and clients share the machine"));
        table.write().map(drop)
    }

    async fn serve(&self, flags: &[&str]) -> anyhow::Result<Store> {
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
    fn point(&self, label: String, hosts: &str, flags: &str) -> Point {
        let flags = format!("-warmup_secs 0.3 -secs {} {flags}", self.secs);
        Point { label, hosts: hosts.to_owned(), flags, processes: 1 }
    }

    /// The runs of each point.
    async fn measured(&self, points: &[Point]) -> anyhow::Result<Vec<Vec<Figures>>> {
        measured(self.repeats, points, async |point| self.run(point).await).await
    }

    /// One run of all of a point's processes.
    async fn run(&self, point: &Point) -> anyhow::Result<Figures> {
        let run_id = jiff::Timestamp::now().as_nanosecond();
        let mut clients = Vec::new();
        for index in 1..=point.processes {
            let count = point.processes;
            let mut flags = format!("-preload=false {}", point.flags);
            if count > 1 {
                flags += &format!(" -client_index {index} -client_count {count} -run_id {run_id}");
            }
            clients.push(self.stores.start_client(&point.hosts, flags.split_whitespace())?);
        }
        let mut sum = Figures::default();
        for client in clients {
            let figures = Figures::from(&client.result().await?);
            // Latencies of several clients have no sum.
            sum = if point.processes == 1 {
                figures
            } else {
                Figures { ops_s: sum.ops_s + figures.ops_s, ..sum }
            };
        }
        Ok(sum)
    }

    async fn pool(&self) -> anyhow::Result<()> {
        let columns = [
            "load",
            "one:op/s",
            "pool_of_4:op/s",
            "overhead:%",
            "overhead_min:%",
            "overhead_max:%",
        ];
        let mut table = self.table("pool", "A pool of 4 connections against one", &columns).await?;
        let server = self.loaded(&[], "").await?;
        let loads = [("batches", "-batch_size 1000"), ("plain", "-plain")];
        let points = grid(&loads, &[1, 4]).into_iter().map(|((name, flags), connections)| {
            let flags = format!("{flags} -connections {connections}");
            self.point(format!("{name} {connections}"), &server.url, &flags)
        });
        let runs = self.measured(&points.collect::<Vec<_>>()).await?;
        for (load, runs) in ["batches of 1,000", "plain calls"].into_iter().zip(runs.chunks(2)) {
            let pairs = runs[0].iter().zip(&runs[1]);
            let lost = pairs.map(|(one, pool)| 100.0 * (1.0 - ratio(pool.ops_s, one.ops_s)));
            let lost = Spread::of(&lost.collect::<Vec<_>>()).expect("there are runs");
            let [median, min, max] =
                [lost.median, lost.min, lost.max].map(|percent| (10.0 * percent).round() / 10.0);
            table.row(cells![load, ops_s(&runs[0]), ops_s(&runs[1]), median, min, max]);
            println!("{load}: the pool loses {median}%, {min} to {max}");
        }
        self.write(
            table,
            "YCSB-B, 64 workers; overhead: what the pool loses of the throughput over one connection, \
             in interleaved pairs; below zero it gains",
        )
    }

    async fn workers(&self) -> anyhow::Result<()> {
        let columns =
            ["workers", "connections", "ops_s:op/s", "min:op/s", "max:op/s", "p50:us", "p99:us"];
        let mut table = self.table("workers", "Workers over connections", &columns).await?;
        let server = self.loaded(&[], "").await?;
        let grid = grid(&[8_u32, 16, 32, 64], &[2_u32, 4]);
        let points = grid.iter().map(|(workers, connections)| {
            let flags = format!(
                "-threads 2 -batch_size 1000 -workers {workers} -connections {connections}"
            );
            self.point(format!("{workers} {connections}"), &server.url, &flags)
        });
        let runs = self.measured(&points.collect::<Vec<_>>()).await?;
        for ((workers, connections), runs) in grid.into_iter().zip(&runs) {
            let (min, max) = ends(runs);
            let (p50, p99) = (p50_us(runs), p99_us(runs));
            table.row(cells![workers, connections, ops_s(runs), min, max, p50, p99]);
        }
        self.write(table, "YCSB-B, batches of 1,000, 2 client threads")
    }

    async fn streams(&self) -> anyhow::Result<()> {
        let columns = [
            "server",
            "client_threads",
            "1_stream:op/s",
            "100_streams:op/s",
            "1000_streams:op/s",
            "10000_streams:op/s",
        ];
        let mut table = self.table("streams", "Streams over client threads", &columns).await?;
        let cores = cores();
        let single = self.loaded(&["-threads", "1"], "").await?;
        let multi = self.loaded(&["-threads", &cores.to_string()], "").await?;
        let servers = [("single-threaded", &*single.url), ("multi-threaded", &*multi.url)];
        let rows = grid(&servers, &[1_u32, 2, 4, 8]);
        let points = grid(&rows, &[1, 100, 1000, 10_000]);
        let points = points.into_iter().map(|(((server, hosts), threads), streams)| {
            let operations = streams * STREAM_OPERATIONS;
            let flags = format!(
                "-plain -warmup_secs 0.2 -threads {threads} -workers {streams} -operations {operations}"
            );
            let label = format!("{server} {threads} {streams}");
            Point { label, hosts: hosts.to_owned(), flags, processes: 1 }
        });
        let runs = self.measured(&points.collect::<Vec<_>>()).await?;
        for (((server, _), threads), runs) in rows.into_iter().zip(runs.chunks(4)) {
            let mut row = cells![server, threads];
            row.extend(runs.iter().map(|runs| ops_s(runs).into()));
            table.row(row);
        }
        self.write(
            table,
            &format!(
                "YCSB-B; each stream makes one plain call at a time, {STREAM_OPERATIONS} on average; \
                 the server has 1 thread or {cores}"
            ),
        )
    }

    async fn processes(&self) -> anyhow::Result<()> {
        let columns =
            ["server_threads", "processes", "ops_s:op/s", "min:op/s", "max:op/s", "scaling:times"];
        let title = "Client processes against one server";
        let mut table = self.table("processes", title, &columns).await?;
        let cores = cores();
        let single = self.loaded(&["-threads", "1"], "").await?;
        let multi = self.loaded(&["-threads", &cores.to_string()], "").await?;
        let counts = [1, 2, 4, 8, 16];
        let grid = grid(&[(1, &single), (cores, &multi)], &counts);
        let points = grid.iter().map(|((threads, server), processes)| {
            let label = format!("threads {threads}, processes {processes}");
            let point = self.point(label, &server.url, "-threads 1 -workers 16 -batch_size 100");
            Point { processes: *processes, ..point }
        });
        let runs = self.measured(&points.collect::<Vec<_>>()).await?;
        for (index, ((threads, _), processes)) in grid.into_iter().enumerate() {
            let alone = ops_s(&runs[index - index % counts.len()]);
            let (all, (min, max)) = (ops_s(&runs[index]), ends(&runs[index]));
            let scaling = significant(ratio(all, alone), 3);
            table.row(cells![threads, processes, all, min, max, scaling]);
            println!(
                "server threads {threads}, {processes:>2} processes: {all:>12} op/s, \
                 {scaling} times one process"
            );
        }
        self.write(
            table,
            "YCSB-B; each process has one thread, 16 workers and batches of 100; all measure in the \
             same window",
        )
    }

    async fn large(&self) -> anyhow::Result<()> {
        let columns = ["operation", "batch_size", "ops_s:op/s", "payload:B/s", "p50:us", "p99:us"];
        let mut table = self.table("large", "Values of 64 KiB", &columns).await?;
        let server = self.loaded(&[], LARGE).await?;
        let grid = grid(&["get", "put"], &[10_u32, 100]);
        let points = grid.iter().map(|(operation, size)| {
            let flags = format!("{LARGE} -mix {operation}=100 -batch_size {size}");
            self.point(format!("{operation} {size}"), &server.url, &flags)
        });
        let runs = self.measured(&points.collect::<Vec<_>>()).await?;
        for ((operation, size), runs) in grid.into_iter().zip(&runs) {
            let (rate, p50, p99) = (ops_s(runs), p50_us(runs), p99_us(runs));
            table.row(cells![operation, size, rate, rate * LARGE_BYTES, p50, p99]);
        }
        self.write(table, "1,000 keys, chosen uniformly; 8 workers; payload: the values alone")
    }

    async fn in_process(&self) -> anyhow::Result<()> {
        let columns = ["place", "servers", "batch_10000:op/s", "plain_64_callers:op/s"];
        let title = "Servers inside the client's process, beside TCP";
        let mut table = self.table("in_process", title, &columns).await?;
        let one = self.loaded(&[], "").await?;
        let shards = (self.serve(&["-shard", "1/2"]).await?, self.serve(&["-shard", "2/2"]).await?);
        let two = format!("{},{}", shards.0.url, shards.1.url);
        self.load(&two, "").await?;
        // A server inside the process begins empty.
        let empty = "-preload=true";
        let places = [
            ("tcp", 1_u32, &*one.url, ""),
            ("tcp", 2, &*two, ""),
            ("mem", 1, "mem:1", empty),
            ("mem", 2, "mem:2", empty),
        ];
        let loads = [("batches", "-batch_size 10000"), ("plain", "-plain")];
        let points = grid(&places, &loads).into_iter().map(
            |((place, servers, hosts, load), (name, flags))| {
                let label = format!("{place} {servers} {name}");
                self.point(label, hosts, &format!("{flags} {load}"))
            },
        );
        let runs = self.measured(&points.collect::<Vec<_>>()).await?;
        for ((place, servers, ..), runs) in places.into_iter().zip(runs.chunks(2)) {
            table.row(cells![place, servers, ops_s(&runs[0]), ops_s(&runs[1])]);
        }
        self.write(table, "YCSB-B, 64 workers; servers inside the process share its threads")
    }

    async fn delay(&self) -> anyhow::Result<()> {
        let columns = [
            "each_way:ms",
            "one_caller:calls/s",
            "one_caller_p50:us",
            "64_callers:calls/s",
            "64_callers_p50:us",
            "batch_1000:op/s",
            "batch_1000_p50:us",
        ];
        let mut table = self.table("delay", "A network with delay", &columns).await?;
        let proxy = self.stores.example("faults", "delay-proxy").await?;
        let server = self.loaded(&[], "").await?;
        let loads = [
            ("caller", "-plain -workers 1"),
            ("callers", "-plain"),
            ("batches", "-batch_size 1000"),
        ];
        let (mut proxies, mut points) = (Vec::new(), Vec::new());
        let delays_us = [0, 100, 1000, 10_000];
        for delay_us in delays_us {
            let proxy = self.stores.delayed(&proxy, &server, delay_us).await?;
            points.extend(loads.map(|(name, flags)| {
                self.point(format!("{delay_us} us {name}"), &proxy.url, flags)
            }));
            proxies.push(proxy);
        }
        let runs = self.measured(&points).await?;
        for (delay_us, runs) in delays_us.into_iter().zip(runs.chunks(loads.len())) {
            let mut row = cells![f64::from(delay_us) / 1000.0];
            row.extend(runs.iter().flat_map(|runs| cells![ops_s(runs), p50_us(runs)]));
            table.row(row);
        }
        self.write(
            table,
            "YCSB-B through a proxy on the same machine that holds back what passes, each way by this \
             time; 64 workers send the batches of 1,000",
        )
    }
}
