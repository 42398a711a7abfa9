use super::*;
use crate::client_log::tests::client_log;
use crate::cluster::compute;
use crate::run_folder::tests::{DESCRIPTION, START_UNIX_MS, Scratch, server_log, whole_run};

/// What a process logs every second of the window.
#[derive(Clone, Copy)]
struct Load {
    cpu_percent: f64,
    cores_percent: [f64; 2],
    /// Bytes per second on a link of 1 Gbit/s.
    received: u64,
    sent: u64,
}

const IDLE: Load = Load { cpu_percent: 10.0, cores_percent: [10.0; 2], received: 0, sent: 0 };

/// A run of 2 servers and 2 clients on so many machines.
struct Run {
    folder: Scratch,
    /// Servers, then clients.
    loads: [Load; 4],
    machines: u32,
}

impl Run {
    fn new(name: &str, machines: u32) -> Self {
        Self { folder: whole_run(name), loads: [IDLE; 4], machines }
    }

    fn found(&self) -> Bottleneck {
        let hosts = ["node0", "node1", "node2", "node3"].map(|name| {
            serde_json::json!({"name": name, "cpu": "", "cores": 2, "memory_bytes": 1,
                "kernel": "", "system": ""})
        });
        let environment =
            serde_json::json!({"commit": "", "hosts": &hosts[..self.machines as usize]});
        let machines = format!("\"environment\": {environment}, \"machines\": {}", self.machines);
        self.folder.file("run.json", &DESCRIPTION.replace("\"machines\": 1", &machines));
        for (index, load) in self.loads.iter().enumerate() {
            let log = match index {
                0 | 1 => server_log(&format!("{}/2", index + 1)),
                _ => client_log(START_UNIX_MS + 1_000, 4),
            };
            let kind = if index < 2 { "server" } else { "client" };
            let name = format!("kvs-{kind}-{}.log", index % 2 + 1);
            let lines = log.lines().map(|line| load.apply(line) + "\n");
            self.folder.file(&name, &lines.collect::<String>());
        }
        compute(&RunFolder::read(&self.folder.0).unwrap()).unwrap().bottleneck
    }
}

impl Load {
    /// A `stats` line with this load in it; other lines as they are.
    fn apply(&self, line: &str) -> String {
        let Some(stats) = line.strip_prefix("stats ") else { return line.to_owned() };
        let mut stats: Value = serde_json::from_str(stats).unwrap();
        stats["cpu_percent"] = self.cpu_percent.into();
        stats["cores_percent"] = self.cores_percent.to_vec().into();
        stats["network"] = serde_json::json!([
            {"interface": "eth0", "link_mbit": 1_000, "received_bytes": self.received,
                "sent_bytes": self.sent},
            {"interface": "lo", "link_mbit": null, "received_bytes": 1 << 30, "sent_bytes": 1 << 30},
        ]);
        format!("stats {stats}")
    }
}

#[test]
fn a_full_link_is_named_with_its_host_and_way() {
    let mut run = Run::new("limit-link", 4);
    // 121.25 MB/s are 97% of 1 Gbit/s.
    run.loads[1].sent = 121_250_000;
    run.loads[2].received = 115_000_000;
    let found = run.found();
    let expected = "limited by: node1 outgoing link 97% of 1 Gbit/s; servers 5% CPU, clients 5%";
    assert_eq!(found.to_string(), expected);
    assert_eq!((found.kind, found.used), (Some(Kind::Link), Some(0.97)));
    run.loads[1].sent = 110_000_000;
    assert!(run.found().sentence.starts_with("node2 incoming link 92%"), "{:?}", run.found());
    run.loads[2].received = 110_000_000;
    assert_eq!(run.found().kind, None);
}

#[test]
fn few_operations_in_flight_leave_everything_idle() {
    let found = Run::new("limit-none", 4).found();
    let expected = "none found: raise -workers or -depth; servers 5% CPU, clients 5%";
    assert_eq!(found.sentence, expected);
    assert_eq!((found.kind, found.used), (None, None));
}

#[test]
fn a_machine_that_all_share_is_named_once() {
    let mut run = Run::new("limit-shared", 1);
    for (load, cpu_percent) in run.loads.iter_mut().zip([50.0, 44.0, 50.0, 50.0]) {
        *load = Load { cpu_percent, cores_percent: [98.0, 97.0], ..IDLE };
    }
    let expected =
        "this machine's CPU 98%, shared by servers and clients; servers 47% CPU, clients 50%";
    assert_eq!(run.found().sentence, expected);
    // The same cores, but the run has little part in it.
    run.loads.iter_mut().for_each(|load| load.cpu_percent = 20.0);
    let told = run.found().sentence;
    assert!(
        told.starts_with("this machine's CPU 98%, only 40% of it by this run: something"),
        "{told}"
    );
    // A link that is full limits all the same.
    run.loads[0].sent = 115_000_000;
    assert!(run.found().sentence.starts_with("this machine outgoing link 92%"), "{}", run.found());
}

#[test]
fn a_machine_of_its_own_is_named() {
    let mut run = Run::new("limit-cpu", 4);
    run.loads[3] = Load { cpu_percent: 190.0, cores_percent: [96.0, 96.0], ..IDLE };
    let found = run.found();
    assert_eq!(found.sentence, "node3's CPU 96%; servers 5% CPU, clients 50%");
    assert_eq!(found.kind, Some(Kind::MachineCpu));
}

#[test]
fn one_core_that_all_are_pinned_to_is_named() {
    let mut run = Run::new("limit-core", 1);
    for load in &mut run.loads {
        *load = Load { cpu_percent: 24.0, cores_percent: [7.0, 99.0], ..IDLE };
    }
    let found = run.found();
    let told = &found.sentence;
    assert!(told.starts_with("core 1 of this machine 99%, all cores 53%; servers 24%"), "{told}");
    assert_eq!(found.kind, Some(Kind::Core));
}

#[test]
fn threads_that_are_always_busy_are_named() {
    let mut run = Run::new("limit-threads", 4);
    // The server's log says 2 threads, as many as there are cores.
    run.loads[0] = Load { cpu_percent: 185.0, cores_percent: [85.0, 85.0], ..IDLE };
    let told = run.found().sentence;
    assert!(told.starts_with("server 1's 2 threads 92% busy; servers 49% CPU"), "{told}");
    run.loads[0].cpu_percent = 179.0;
    assert_eq!(run.found().kind, None);

    let path = run.folder.0.join("kvs-client-2.json");
    let mut client = crate::result::RunResult::read(&path).unwrap();
    client.config["threads"] = 1.into();
    client.write(&path).unwrap();
    run.loads[3].cpu_percent = 97.0;
    let found = run.found();
    let told = &found.sentence;
    assert!(told.starts_with("client 2's 1 thread 97% busy: raise its -threads;"), "{told}");
    assert_eq!(found.kind, Some(Kind::Threads));
}

#[test]
fn a_rate_that_was_kept_is_the_limit() {
    let run = Run::new("limit-rate", 4);
    let set_rates = |rate: f64| {
        for number in 1..=2 {
            let path = run.folder.0.join(format!("kvs-client-{number}.json"));
            let mut client = crate::result::RunResult::read(&path).unwrap();
            client.config["rate"] = rate.into();
            client.write(&path).unwrap();
        }
    };
    set_rates(1_010.0);
    let found = run.found();
    assert!(found.sentence.starts_with("the offered load, 2020 op/s: raise -rate;"), "{found}");
    assert_eq!(found.kind, Some(Kind::OfferedLoad));
    set_rates(1_100.0);
    assert_eq!(run.found().kind, None);
}

#[test]
fn without_whole_seconds_nothing_is_known() {
    let folder = whole_run("limit-short");
    let found = || compute(&RunFolder::read(&folder.0).unwrap()).unwrap().bottleneck;
    // No client has a log.
    assert!(found().sentence.starts_with("not known, because no whole second"), "{}", found());
    assert_eq!((found().kind, found().clients_cpu), (None, None));
}

#[test]
fn speeds_read_as_people_say_them() {
    let speeds = [100, 1_000, 2_500, 10_000].map(link_speed);
    assert_eq!(speeds, ["100 Mbit/s", "1 Gbit/s", "2.5 Gbit/s", "10 Gbit/s"]);
}
