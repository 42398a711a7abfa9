//! The pictures of one run.

use resources::{Traffic, Usage};

use super::axis::Axis;
use super::figure::{Figure, Form, Panel, Point, Rule, Series, thinned};
use super::{Picture, PlotError};
use crate::client_log::ClientStats;
use crate::result::{Latency, RunResult};
use crate::run_folder::{MeasuredClient, RunFolder};
use crate::server_log::{Interval, ServerLog};
use crate::window::{Window, median_rate};
use crate::wording::{BYTES, RATES, Scale, TRAFFIC, scale};

const PERCENT: [Scale; 3] = [Scale { size: 1.0, name: "%" }; 3];

/// Labels on an axis of a lone panel, and of one of two.
const LABELS: usize = 6;
const LABELS_OF_TWO: usize = 4;

/// Everything that pictures of a run are drawn from.
struct Run<'a> {
    servers: &'a [ServerLog],
    clients: Vec<Vec<ClientStats>>,
    time: Time,
}

/// The run's seconds: they count from the start of the window, or from the first interval.
#[derive(Clone, Copy)]
struct Time {
    zero_unix_ms: f64,
    from: f64,
    to: f64,
    window: Option<(f64, f64)>,
}

impl Time {
    /// `None` when no log has an interval.
    fn of(servers: &[ServerLog], window: Option<Window>) -> Option<Self> {
        let intervals = || servers.iter().flat_map(|log| &log.intervals);
        let first = intervals().map(Interval::start_unix_ms).reduce(f64::min)?;
        let last = intervals().map(Interval::end_unix_ms).reduce(f64::max)?;
        let zero = window.map_or(first, |window| window.start_unix_ms as f64);
        let second = |unix_ms: f64| (unix_ms - zero) / 1e3;
        let window = window
            .map(|window| (second(window.start_unix_ms as f64), second(window.end_unix_ms as f64)));
        let (from, to) = (second(first).min(0.0), second(last));
        Some(Self { zero_unix_ms: zero, from, to, window })
    }

    fn second(self, unix_ms: f64) -> f64 {
        (unix_ms - self.zero_unix_ms) / 1e3
    }

    fn axis(self) -> Axis {
        Axis::linear("time in s", self.from, self.to, 7)
    }

    /// A line over time.
    fn series(self, name: String, look: usize, samples: impl Iterator<Item = Sample>) -> Series {
        let points = samples
            .map(|sample| {
                let middle = sample.end_unix_ms - 500.0 * sample.interval_s;
                Point::new(self.second(middle), sample.value)
            })
            .filter(|point| (self.from..=self.to).contains(&point.x));
        let points = thinned(points.collect());
        Series { name, look, form: Form::TimeLine, points, median: None }
    }
}

/// A value of an interval.
struct Sample {
    end_unix_ms: f64,
    interval_s: f64,
    value: f64,
}

impl Sample {
    fn of(interval: &Interval, value: f64) -> Self {
        let (end_unix_ms, interval_s) = (interval.end_unix_ms(), interval.stats.interval_s);
        Self { end_unix_ms, interval_s, value }
    }

    fn of_client(stats: &ClientStats, value: f64) -> Self {
        Self { end_unix_ms: stats.unix_ms as f64, interval_s: stats.interval_s, value }
    }
}

/// All pictures that there is data for.
pub(super) fn pictures(
    folder: &RunFolder,
    window: Option<Window>,
) -> Result<Vec<Picture>, PlotError> {
    let time = Time::of(&folder.servers, window)
        .ok_or_else(|| PlotError::NothingToDraw { folder: folder.path.clone() })?;
    let run = Run { servers: &folder.servers, clients: folder.read_client_logs()?, time };
    // Why a client's result cannot be read is told with the total; here it is only not drawn.
    let clients = folder.read_clients().unwrap_or_default();
    let one_machine = folder.description.machines == 1;
    let pictures = [
        Some(throughput(&run, window)),
        latency(&clients),
        Some(processes_of_servers(&run)),
        processes_of_clients(&run),
        network(&run, one_machine),
        share(&run),
    ];
    Ok(pictures.into_iter().flatten().collect())
}

fn most(series: &[Series]) -> f64 {
    let values = series.iter().flat_map(|series| series.points.iter().map(|point| point.y));
    values.fold(0.0, f64::max)
}

/// Brings values to the unit of their axis.
fn divide(series: &mut [Series], by: f64) {
    for series in series {
        for point in &mut series.points {
            (point.y, point.bar) = (point.y / by, (point.bar.0 / by, point.bar.1 / by));
        }
        series.median = series.median.map(|median| median / by);
    }
}

/// A panel over time: its values are divided by the unit that suits them.
fn over_time(
    time: Time,
    what: &str,
    mut series: Vec<Series>,
    scales: [Scale; 3],
    labels: usize,
) -> Panel {
    let unit = scale(most(&series), scales);
    divide(&mut series, unit.size);
    let y = Axis::from_zero(format!("{what} in {}", unit.name), most(&series), labels);
    Panel { x: time.axis(), y, series, rules: Vec::new(), window: time.window }
}

fn throughput(run: &Run<'_>, window: Option<Window>) -> Picture {
    let series = run.servers.iter().enumerate().map(|(index, log)| {
        let samples = log.intervals.iter().map(|i| Sample::of(i, i.operations_per_second));
        let line = run.time.series(server_name(index), index, samples);
        Series { median: median_rate(log, window), ..line }
    });
    let panel = over_time(run.time, "throughput", series.collect(), RATES, LABELS);
    let within = if window.is_some() { "the measured window" } else { "all busy seconds" };
    Picture {
        name: "ops".to_owned(),
        caption: format!(
            "Throughput of each server over time, from the servers' logs; dashed: its median \
             over {within}."
        ),
        figure: Figure { panels: vec![panel] },
    }
}

fn server_name(index: usize) -> String {
    format!("server {}", index + 1)
}

fn client_name(index: usize) -> String {
    format!("client {}", index + 1)
}

fn processes_of_servers(run: &Run<'_>) -> Picture {
    let lines = |pick: fn(&Usage) -> Option<f64>| {
        let series = run.servers.iter().enumerate().map(|(index, log)| {
            let sample = |i: &Interval| Some(Sample::of(i, pick(&i.stats.usage)?));
            run.time.series(server_name(index), index, log.intervals.iter().filter_map(sample))
        });
        series.collect()
    };
    let (cpu, memory) = (lines(|usage| usage.cpu_percent), lines(resident_bytes));
    processes(run.time, "server", cpu, memory)
}

fn processes_of_clients(run: &Run<'_>) -> Option<Picture> {
    let lines = |pick: fn(&Usage) -> Option<f64>| {
        let series = run.clients.iter().enumerate().map(|(index, log)| {
            let sample = |stats: &ClientStats| Some(Sample::of_client(stats, pick(&stats.usage)?));
            run.time.series(client_name(index), index, log.iter().filter_map(sample))
        });
        series.filter(|series| !series.points.is_empty()).collect::<Vec<_>>()
    };
    let (cpu, memory) = (lines(|usage| usage.cpu_percent), lines(resident_bytes));
    (!cpu.is_empty()).then(|| processes(run.time, "client", cpu, memory))
}

fn resident_bytes(usage: &Usage) -> Option<f64> {
    Some(usage.resident_bytes? as f64)
}

fn processes(time: Time, kind: &str, cpu: Vec<Series>, memory: Vec<Series>) -> Picture {
    let cpu = over_time(time, "CPU", cpu, PERCENT, LABELS_OF_TWO);
    let memory = over_time(time, "memory", memory, BYTES, LABELS_OF_TWO);
    Picture {
        name: kind.to_owned(),
        caption: format!(
            "CPU time (100% is one core) and resident memory of each {kind} over time."
        ),
        figure: Figure { panels: vec![cpu, memory] },
    }
}

/// Bytes each way. Processes of one machine see the same interfaces, so one of them tells all.
fn network(run: &Run<'_>, one_machine: bool) -> Option<Picture> {
    let servers = run.servers.iter().enumerate().map(|(index, log)| {
        let end =
            |i: &Interval| (i.end_unix_ms(), i.stats.interval_s, i.stats.usage.network.clone());
        (server_name(index), log.intervals.iter().map(end).collect::<Vec<_>>())
    });
    let clients = run.clients.iter().enumerate().map(|(index, log)| {
        let end = |s: &ClientStats| (s.unix_ms as f64, s.interval_s, s.usage.network.clone());
        (client_name(index), log.iter().map(end).collect::<Vec<_>>())
    });
    let mut nodes: Vec<Node> = if one_machine {
        servers.take(1).filter_map(|(_, log)| Node::of(String::new(), &log)).collect()
    } else {
        servers.chain(clients).filter_map(|(name, log)| Node::of(name, &log)).collect()
    };
    if let (true, Some(node)) = (one_machine, nodes.first_mut()) {
        node.name.clone_from(&node.interface);
    }
    let lines = |pick: fn(&Traffic) -> u64| {
        let series = nodes.iter().enumerate().map(|(index, node)| {
            let samples = node.traffic.iter().map(|(end_unix_ms, interval_s, interface)| Sample {
                end_unix_ms: *end_unix_ms,
                interval_s: *interval_s,
                value: pick(interface) as f64 / interval_s.max(1e-3),
            });
            run.time.series(node.name.clone(), index, samples)
        });
        series.collect::<Vec<_>>()
    };
    if nodes.is_empty() {
        return None;
    }
    let both = [("received", lines(|i| i.received_bytes)), ("sent", lines(|i| i.sent_bytes))];
    let link_mbit = nodes.iter().filter_map(|node| node.link_mbit).max();
    let link_bytes = link_mbit.map_or(0.0, |mbit| mbit as f64 * 1e6 / 8.0);
    let top = both.iter().map(|(_, series)| most(series)).fold(link_bytes, f64::max);
    let unit = scale(top, TRAFFIC);
    let panels = both.into_iter().map(|(what, mut series)| {
        divide(&mut series, unit.size);
        let title = format!("{what} in {}", unit.name);
        let y = Axis::from_zero(title, top / unit.size, LABELS_OF_TWO);
        let rule = |mbit| Rule { y: link_bytes / unit.size, name: link_name(mbit) };
        let rules = link_mbit.map(rule).into_iter().collect();
        Panel { x: run.time.axis(), y, series, rules, window: run.time.window }
    });
    let against = match link_mbit {
        Some(mbit) => format!("; dashed: {}", link_name(mbit)),
        None => "; the system knows no speed of the link".to_owned(),
    };
    Some(Picture {
        name: "network".to_owned(),
        caption: format!(
            "Bytes each way over the busiest network interface of each machine over time{against}."
        ),
        figure: Figure { panels: panels.collect() },
    })
}

/// One machine's busiest interface over time.
struct Node {
    name: String,
    interface: String,
    link_mbit: Option<u64>,
    traffic: Vec<(f64, f64, Traffic)>,
}

impl Node {
    /// `None` if no interface is known.
    fn of(name: String, log: &[(f64, f64, Vec<Traffic>)]) -> Option<Self> {
        let all = || log.iter().flat_map(|(_, _, network)| network);
        let bytes = |name: &str| -> u64 {
            let same = all().filter(|interface| interface.interface == name);
            same.map(|interface| interface.received_bytes + interface.sent_bytes).sum()
        };
        let busiest = all().max_by_key(|interface| bytes(&interface.interface))?;
        let (interface, link_mbit) = (busiest.interface.clone(), busiest.link_mbit);
        let traffic = log.iter().filter_map(|(end_unix_ms, interval_s, network)| {
            let found = network.iter().find(|other| other.interface == interface)?;
            Some((*end_unix_ms, *interval_s, found.clone()))
        });
        Some(Self { name, traffic: traffic.collect(), interface, link_mbit })
    }
}

fn link_name(mbit: u64) -> String {
    if mbit >= 1_000 && mbit.is_multiple_of(100) {
        format!("link {} Gbit/s", mbit as f64 / 1e3)
    } else {
        format!("link {mbit} Mbit/s")
    }
}

/// Kinds of operations in the order of the legend.
type Kind = (&'static str, fn(&RunResult) -> Option<Latency>);
const KINDS: [Kind; 5] = [
    ("GET", |result| result.latency_us.get),
    ("PUT", |result| result.latency_us.put),
    ("DELETE", |result| result.latency_us.delete),
    ("CAS", |result| result.latency_us.cas),
    ("INCR", |result| result.latency_us.incr),
];

/// Percentiles from left to right.
type Percentile = (&'static str, fn(&Latency) -> f64);
const PERCENTILES: [Percentile; 5] = [
    ("p50", |latency| latency.p50),
    ("p95", |latency| latency.p95),
    ("p99", |latency| latency.p99),
    ("p99.9", |latency| latency.p999),
    ("max", |latency| latency.max),
];

/// The middle client's percentiles, with bars from the lowest client to the highest: percentiles of
/// several clients cannot be merged.
fn latency(clients: &[MeasuredClient]) -> Option<Picture> {
    let mut series = Vec::new();
    let kinds: Vec<(usize, &Kind)> = KINDS
        .iter()
        .enumerate()
        .filter(|(_, (_, pick))| clients.iter().any(|client| pick(&client.result).is_some()))
        .collect();
    for (position, (look, (name, pick))) in kinds.iter().enumerate() {
        let latencies: Vec<Latency> =
            clients.iter().filter_map(|client| pick(&client.result)).collect();
        let points = PERCENTILES.iter().enumerate().map(|(index, (_, percentile))| {
            let mut ms: Vec<f64> = latencies.iter().map(|l| percentile(l) / 1e3).collect();
            ms.sort_by(f64::total_cmp);
            // Kinds stand beside each other, so that equal ones do not hide one another.
            let beside = 0.12 * (position as f64 - (kinds.len() - 1) as f64 / 2.0);
            let bar = (ms[0].max(MS_MIN), ms[ms.len() - 1].max(MS_MIN));
            Point { x: index as f64 + beside, y: ms[ms.len() / 2].max(MS_MIN), bar }
        });
        series.push(Series {
            name: (*name).to_owned(),
            look: *look,
            form: Form::Marks,
            points: points.collect(),
            median: None,
        });
    }
    let ends = || series.iter().flat_map(|series| &series.points);
    let least = ends().map(|point| point.bar.0).reduce(f64::min)?;
    let most = ends().map(|point| point.bar.1).reduce(f64::max)?;
    let names: Vec<String> = PERCENTILES.iter().map(|(name, _)| (*name).to_owned()).collect();
    let panel = Panel {
        x: Axis::names("percentile of all operations", &names),
        y: Axis::decades("latency in ms", least, most),
        series,
        rules: Vec::new(),
        window: None,
    };
    let bars = if clients.len() > 1 {
        " of the middle client; bars: the lowest and the highest client"
    } else {
        ""
    };
    Some(Picture {
        name: "latency".to_owned(),
        caption: format!("Latency percentiles of each kind of operation{bars}."),
        figure: Figure { panels: vec![panel] },
    })
}

/// The least latency that the logarithmic axis holds: a microsecond, the clients' resolution.
const MS_MIN: f64 = 1e-3;

fn share(run: &Run<'_>) -> Option<Picture> {
    let executed = |log: &ServerLog| match (&log.total, log.intervals.last()) {
        (Some(total), _) => total.operations_total,
        (None, Some(interval)) => interval.stats.operations_total,
        (None, None) => 0,
    };
    let sum: u64 = run.servers.iter().map(executed).sum();
    if sum == 0 || run.servers.len() == 1 {
        return None;
    }
    let percent = |log| 100.0 * executed(log) as f64 / sum as f64;
    let points = run.servers.iter().enumerate();
    let points = points.map(|(index, log)| Point::new(index as f64, percent(log)));
    let bars = Series {
        name: "share of a server".to_owned(),
        look: 0,
        form: Form::Bars,
        points: points.collect(),
        median: None,
    };
    let names: Vec<String> = (1..=run.servers.len()).map(|number| number.to_string()).collect();
    let equal = Rule { y: 100.0 / names.len() as f64, name: "equal shares".to_owned() };
    let panel = Panel {
        x: Axis::names("server", &names),
        y: Axis::from_zero("operations in %", most(std::slice::from_ref(&bars)), LABELS),
        series: vec![bars],
        rules: vec![equal],
        window: None,
    };
    Some(Picture {
        name: "share".to_owned(),
        caption: "Each server's part of all executed operations.".to_owned(),
        figure: Figure { panels: vec![panel] },
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::client_log::tests::client_log;
    use crate::run_folder::tests::{DESCRIPTION, START_UNIX_MS, server_log, whole_run};

    const WINDOW_4_S: Window =
        Window { start_unix_ms: START_UNIX_MS, end_unix_ms: START_UNIX_MS + 4_000 };

    fn drawn(folder: &crate::run_folder::tests::Scratch, window: Option<Window>) -> Vec<Picture> {
        pictures(&RunFolder::read(&folder.0).unwrap(), window).unwrap()
    }

    fn names(pictures: &[Picture]) -> Vec<&str> {
        pictures.iter().map(|picture| picture.name.as_str()).collect()
    }

    #[test]
    fn a_whole_run_has_all_pictures() {
        let folder = whole_run("plots-all");
        for number in 1..=2 {
            folder.file(&format!("kvs-client-{number}.log"), &client_log(START_UNIX_MS, 4));
        }
        let pictures = drawn(&folder, Some(WINDOW_4_S));
        assert_eq!(names(&pictures), ["ops", "latency", "server", "client", "network", "share"]);
    }

    #[test]
    fn what_there_is_no_data_for_is_not_drawn() {
        let folder = whole_run("plots-servers-alone");
        for number in 1..=2 {
            std::fs::remove_file(folder.0.join(format!("kvs-client-{number}.json"))).unwrap();
        }
        assert_eq!(names(&drawn(&folder, None)), ["ops", "server", "network", "share"]);
    }

    #[test]
    fn logs_without_a_second_are_told() {
        let folder = whole_run("plots-nothing");
        for number in 1..=2 {
            folder.file(&format!("kvs-server-{number}.log"), "error: port 8080 is taken\n");
        }
        let error = pictures(&RunFolder::read(&folder.0).unwrap(), None).unwrap_err();
        assert!(matches!(error, PlotError::NothingToDraw { .. }), "{error}");
    }

    #[test]
    fn a_damaged_log_of_a_client_is_told() {
        let folder = whole_run("plots-damaged");
        folder.file("kvs-client-2.log", "stats {\"phase\":7}\nmeasure 1 s\n");
        let error = pictures(&RunFolder::read(&folder.0).unwrap(), None).unwrap_err();
        assert!(error.to_string().contains("kvs-client-2.log line 1"), "{error}");
    }

    #[test]
    fn a_known_window_is_shaded_and_bounds_the_medians() {
        let pictures = drawn(&whole_run("plots-window"), Some(WINDOW_4_S));
        let panel = &pictures[0].figure.panels[0];
        assert_eq!(panel.window, Some((0.0, 4.0)));
        assert_eq!(panel.x.places, (-1.0, 5.0));
        assert_eq!(panel.series[0].median, Some(1.0));
        assert_eq!(panel.series[0].points[0], Point::new(-0.5, 0.5));
        assert_eq!(panel.y.title, "throughput in thousand op/s");
    }

    #[test]
    fn latencies_lie_between_the_lowest_and_the_highest_client() {
        let clients = [(1, 1_000.0), (2, 4_000.0)].map(|(number, us)| {
            let mut result = crate::run_folder::tests::client(START_UNIX_MS);
            result.latency_us.get = Some(Latency { p50: us, ..result.latency_us.get.unwrap() });
            MeasuredClient { number, result }
        });
        let picture = latency(&clients).unwrap();
        let panel = &picture.figure.panels[0];
        assert_eq!(
            panel.series.iter().map(|s| s.name.as_str()).collect::<Vec<_>>(),
            ["GET", "PUT"]
        );
        assert_eq!(panel.series[0].points[0].bar, (1.0, 4.0));
        assert!(picture.caption.contains("lowest and the highest client"), "{}", picture.caption);
        assert_eq!(latency(&[]), None);
    }

    /// A server's log whose network is busy on a link of 10 Gbit/s beside an idle loopback.
    fn linked_log(shard: &str) -> String {
        server_log(shard).replace(
            "[{\"interface\":\"lo\",\"link_mbit\":null,\"received_bytes\":10,\"sent_bytes\":20}]",
            "[{\"interface\":\"lo\",\"link_mbit\":null,\"received_bytes\":1,\"sent_bytes\":1},\
             {\"interface\":\"eth1\",\"link_mbit\":10000,\"received_bytes\":250000000,\
             \"sent_bytes\":1000000000}]",
        )
    }

    #[test]
    fn traffic_is_held_against_the_link_of_each_machine() {
        let folder = whole_run("plots-network");
        folder.file("run.json", &DESCRIPTION.replace("\"machines\": 1", "\"machines\": 4"));
        for number in 1..=2 {
            folder.file(&format!("kvs-server-{number}.log"), &linked_log(&format!("{number}/2")));
        }
        let pictures = drawn(&folder, None);
        let network = pictures.iter().find(|picture| picture.name == "network").unwrap();
        let [received, sent] = &network.figure.panels[..] else { panic!("two panels") };
        assert_eq!(received.series.len(), 2);
        assert_eq!(received.series[1].name, "server 2");
        assert_eq!((received.series[0].points[0].y, sent.series[0].points[0].y), (0.25, 1.0));
        assert_eq!(sent.rules, [Rule { y: 1.25, name: "link 10 Gbit/s".to_owned() }]);
        assert_eq!(sent.y.title, "sent in GB/s");
    }

    #[test]
    fn processes_of_one_machine_share_its_network() {
        let pictures = drawn(&whole_run("plots-one-machine"), None);
        let network = pictures.iter().find(|picture| picture.name == "network").unwrap();
        let series = &network.figure.panels[0].series;
        assert_eq!((series.len(), series[0].name.as_str()), (1, "lo"));
        assert!(network.caption.ends_with("over time; the system knows no speed of the link."));
    }

    #[test]
    fn shares_are_held_against_equal_ones() {
        let text = server_log("1/2");
        let logs = vec![ServerLog::parse(&text, Path::new("x.log")).unwrap(); 4];
        let time = Time::of(&logs, None).unwrap();
        let run = |servers| Run { servers, clients: Vec::new(), time };
        let panel = &share(&run(&logs)).unwrap().figure.panels[0];
        assert_eq!(panel.rules[0].y, 25.0);
        assert!(panel.series[0].points.iter().all(|point| point.y == 25.0));
        assert_eq!(share(&run(&logs[..1])), None, "one server has everything");
    }
}
