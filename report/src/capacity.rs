//! What a run's cost per operation predicts for a testbed.
//!
//! A run on any machine tells bytes and processor time per operation on both sides. Each resource
//! of a testbed (a core, a direction of a link) divided by its cost is a ceiling in operations per
//! second; the lowest ceiling is the prediction, and each line names what it takes for granted.
//! Ceilings of servers are lowered by the share of the busiest one, because it stops first.

use crate::cluster::ClusterResult;
use crate::results::{Cell, Column, Environment, Header, RESULTS_VERSION, Results};
use crate::run_folder::{MeasuredClient, RunFolder};
use crate::wording;

/// TCP payload that a 10 Gbit/s link carries, in bytes per second: 1,448 bytes of each 1,538 that
/// stand on an Ethernet wire per full frame.
const PAYLOAD_BYTES_PER_S: f64 = 10e9 / 8.0 * 1_448.0 / 1_538.0;

/// Machines to predict for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Testbed {
    /// What it is called.
    pub name: &'static str,
    /// Machines that serve.
    pub servers: u32,
    /// Machines that drive.
    pub clients: u32,
    /// Cores of a machine, without hyper-threads.
    pub cores: u32,
    /// Clock of a core.
    pub clock_ghz: f64,
    /// TCP payload that a machine's link carries each way.
    pub link_bytes_per_s: f64,
}

/// Eight CloudLab m510 nodes: Xeon D-1548 at 2.0 GHz, 8 cores, 10 Gbit/s Ethernet.
pub const M510: Testbed = Testbed {
    name: "4+4 m510",
    servers: 4,
    clients: 4,
    cores: 8,
    clock_ghz: 2.0,
    link_bytes_per_s: PAYLOAD_BYTES_PER_S,
};

/// What an operation costs, as a run measured it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cost {
    /// Processor time of the servers.
    pub server_ns: f64,
    /// Processor time of the clients.
    pub client_ns: f64,
    /// Bytes on the wire from client to server.
    pub request_bytes: f64,
    /// Bytes on the wire from server to client.
    pub reply_bytes: f64,
    /// The busiest server's operations over the mean of all servers, from 1.
    pub imbalance: f64,
    /// Clock of the cores that were measured.
    pub clock_ghz: f64,
}

/// A ceiling that one resource sets.
#[derive(Clone, Debug, PartialEq)]
pub struct Ceiling {
    /// The resource.
    pub resource: &'static str,
    /// What an operation costs of it, as text with its unit.
    pub cost: String,
    /// Operations per second of the whole testbed.
    pub ops_s: f64,
    /// What has to hold for it.
    pub assumption: &'static str,
}

impl Cost {
    /// The costs of a run on cores of `clock_ghz`; `None` if it holds no processor times or no
    /// operations.
    pub fn of(result: &ClusterResult, clients: &[MeasuredClient], clock_ghz: f64) -> Option<Self> {
        let servers = result.per_server.len() as f64;
        let rate = result.operations_per_second;
        let operations: u64 = clients.iter().map(|client| client.result.operations).sum();
        if rate <= 0.0 || operations == 0 || servers < 1.0 {
            return None;
        }
        let server_percent: f64 =
            result.per_server.iter().map(|server| server.cpu_percent_mean).sum::<Option<f64>>()?;
        let client_percent: f64 =
            result.per_client.iter().map(|client| client.cpu_percent_mean).sum::<Option<f64>>()?;
        let sent: u64 = clients.iter().map(|client| client.result.wire_bytes_sent).sum();
        let received: u64 = clients.iter().map(|client| client.result.wire_bytes_received).sum();
        let busiest = result.per_server.iter().map(|server| server.share).fold(0.0, f64::max);
        Some(Self {
            server_ns: server_percent / 100.0 * 1e9 / rate,
            client_ns: client_percent / 100.0 * 1e9 / rate,
            request_bytes: sent as f64 / operations as f64,
            reply_bytes: received as f64 / operations as f64,
            imbalance: (busiest * servers).max(1.0),
            clock_ghz,
        })
    }
}

/// The ceilings of a testbed, lowest first.
pub fn ceilings(cost: &Cost, testbed: &Testbed) -> Vec<Ceiling> {
    let servers = f64::from(testbed.servers) / cost.imbalance;
    let clients = f64::from(testbed.clients);
    let core_ns_per_s = f64::from(testbed.cores) * 1e9 * testbed.clock_ghz / cost.clock_ghz;
    let processor = |machines: f64, ns: f64, resource, assumption| Ceiling {
        resource,
        cost: format!("{ns:.0} ns of a core at {} GHz", cost.clock_ghz),
        ops_s: machines * core_ns_per_s / ns,
        assumption,
    };
    let link = |machines: f64, bytes: f64, resource, assumption| Ceiling {
        resource,
        cost: format!("{bytes:.1} B"),
        ops_s: machines * testbed.link_bytes_per_s / bytes,
        assumption,
    };
    let mut all = vec![
        link(servers, cost.reply_bytes, "servers' outgoing links", "links carry full frames"),
        link(servers, cost.request_bytes, "servers' incoming links", "links carry full frames"),
        link(clients, cost.reply_bytes, "clients' incoming links", "clients share the load evenly"),
        link(
            clients,
            cost.request_bytes,
            "clients' outgoing links",
            "clients share the load evenly",
        ),
        processor(
            servers,
            cost.server_ns,
            "servers' cores",
            "all cores scale, and do as much per clock as those measured",
        ),
        processor(
            clients,
            cost.client_ns,
            "clients' cores",
            "all cores scale, and do as much per clock as those measured",
        ),
    ];
    all.sort_by(|a, b| a.ops_s.total_cmp(&b.ops_s));
    all
}

/// The ceilings as a table, for a run on cores of `clock_ghz`; `None` if the run holds no costs.
pub fn table(
    run: &RunFolder,
    clients: &[MeasuredClient],
    result: &ClusterResult,
    clock_ghz: f64,
    testbed: &Testbed,
) -> Option<Results> {
    let cost = Cost::of(result, clients, clock_ghz)?;
    let column = |name: &str, unit: &str| Column { name: name.to_owned(), unit: unit.to_owned() };
    let host = run.description.environment.hosts.first();
    let header = Header {
        version: RESULTS_VERSION,
        name: "capacity".to_owned(),
        title: format!("What the measured costs predict for {}", testbed.name),
        command: format!("kvs-report log/latest -capacity {clock_ghz}"),
        environment: Environment {
            cpu: host.map(|host| host.machine.cpu.clone()).unwrap_or_default(),
            cores: host.map(|host| host.machine.cores).unwrap_or_default(),
            kernel: host
                .map(|host| host.machine.kernel.trim_start_matches("Linux ").to_owned())
                .unwrap_or_default(),
            commit: run.description.environment.commit.clone(),
            date: wording::date(run.description.started_unix_ms),
        },
        columns: vec![
            column("resource", ""),
            column("an_operation_costs", ""),
            column("ceiling", "Mop/s"),
            column("if", ""),
        ],
        notes: vec![format!(
            "{} machines serve and {} drive, {} cores at {} GHz and {:.0} MB/s of payload each way; \
             the busiest server has {:.3} times the mean load",
            testbed.servers,
            testbed.clients,
            testbed.cores,
            testbed.clock_ghz,
            testbed.link_bytes_per_s / 1e6,
            cost.imbalance
        )],
    };
    let rows = ceilings(&cost, testbed).into_iter().map(|ceiling| {
        vec![
            Cell::Text(ceiling.resource.to_owned()),
            Cell::Text(ceiling.cost),
            Cell::Number((ceiling.ops_s / 1e4).round() / 1e2),
            Cell::Text(ceiling.assumption.to_owned()),
        ]
    });
    Some(Results { header, rows: rows.collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const COST: Cost = Cost {
        server_ns: 80.0,
        client_ns: 100.0,
        request_bytes: 16.0,
        reply_bytes: 72.0,
        imbalance: 1.0,
        clock_ghz: 2.0,
    };

    #[test]
    fn the_lowest_ceiling_stands_first() {
        let ceilings = ceilings(&COST, &M510);
        assert_eq!(ceilings[0].resource, "servers' outgoing links");
        let expected = 4.0 * M510.link_bytes_per_s / 72.0;
        assert!((ceilings[0].ops_s - expected).abs() < 1.0, "{ceilings:?}");
        assert!(ceilings.is_sorted_by(|a, b| a.ops_s <= b.ops_s), "{ceilings:?}");
    }

    #[test]
    fn costly_operations_are_limited_by_cores() {
        let cost = Cost { client_ns: 1_000.0, ..COST };
        let ceilings = ceilings(&cost, &M510);
        assert_eq!(ceilings[0].resource, "clients' cores");
        assert!((ceilings[0].ops_s - 32e6).abs() < 1.0, "4 machines of 8 cores at 1 us");
    }

    #[test]
    fn a_busier_server_lowers_the_servers_ceilings_alone() {
        let of = |cost: &Cost, resource: &str| {
            ceilings(cost, &M510).iter().find(|line| line.resource == resource).unwrap().ops_s
        };
        let uneven = Cost { imbalance: 1.25, ..COST };
        for resource in ["servers' outgoing links", "servers' incoming links", "servers' cores"] {
            assert!((of(&uneven, resource) * 1.25 - of(&COST, resource)).abs() < 1.0, "{resource}");
        }
        for resource in ["clients' incoming links", "clients' cores"] {
            assert!((of(&uneven, resource) - of(&COST, resource)).abs() < 1.0, "{resource}");
        }
    }

    #[test]
    fn a_run_with_costs_is_tabulated_and_one_without_is_not() {
        let folder = crate::run_folder::tests::whole_run("capacity");
        let run = RunFolder::read(&folder.0).unwrap();
        let mut result = crate::cluster::compute(&run).unwrap();
        for server in &mut result.per_server {
            server.cpu_percent_mean = Some(80.0);
        }
        let clients = run.read_clients().unwrap();
        let table = table(&run, &clients, &result, 2.6, &M510).unwrap();
        assert_eq!(table.rows.len(), 6);
        Results::parse(&table.to_text(), std::path::Path::new("capacity.jsonl")).unwrap();
        result.per_server[0].cpu_percent_mean = None;
        assert_eq!(super::table(&run, &clients, &result, 2.6, &M510), None);
    }

    #[test]
    fn a_slower_clock_costs_more_time() {
        let fast = Cost { clock_ghz: 4.0, client_ns: 500.0, ..COST };
        let ceilings = ceilings(&fast, &M510);
        assert_eq!(ceilings[0].resource, "clients' cores");
        assert!((ceilings[0].ops_s - 32e6).abs() < 1.0, "{ceilings:?}");
    }
}
