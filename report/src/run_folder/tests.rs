use super::*;
use crate::client_log::tests::client_log;
use crate::result::tests::sample;
use crate::server_log::tests::{listening_line, second, total_line};

/// A folder that goes away when the test ends.
pub(crate) struct Scratch(pub(crate) PathBuf);

impl Scratch {
    pub(crate) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("kvs-report-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn file(&self, name: &str, text: &str) {
        std::fs::write(self.0.join(name), text).unwrap();
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// When the sample run's window begins.
pub(crate) const START_UNIX_MS: u64 = 1_795_183_200_000;

/// The description of a run of 2 servers and 2 clients.
pub(crate) const DESCRIPTION: &str = r#"{
    "mode": "dev: 4 processes on ONE machine, not a cluster figure", "servers": 2, "clients": 2, "machines": 1, "server_args": "",
    "client_args": "-secs 4", "started_unix_ms": 1795183199000}"#;

/// A client's result: 4 s from `start_unix_ms`, 100 operations per 100 ms.
pub(crate) fn client(start_unix_ms: u64) -> RunResult {
    let mut result = sample();
    result.config = serde_json::json!({"workload": "YCSB-B", "value_size": 128,
        "batch_size": 10_000});
    result.operations = 4_000;
    result.operations_per_second = 1_000.0;
    result.window_s = 4.0;
    result.window_start_unix_ms = start_unix_ms;
    result.window_end_unix_ms = start_unix_ms + 4_000;
    (result.errors, result.unknown) = (0, 0);
    (result.gets, result.hits) = (3_800, 3_800);
    result.timeline.start_unix_ms = start_unix_ms;
    result.timeline.operations = vec![100; 40];
    result.acknowledged = ["1/2", "2/2"]
        .map(|shard| crate::result::Acknowledged {
            endpoint: "127.0.0.1:1".to_owned(),
            shard: shard.to_owned(),
            operations: 2_500,
        })
        .to_vec();
    result
}

/// A server's log: six seconds, of which the middle four lie in the window.
pub(crate) fn server_log(shard: &str) -> String {
    let mut text = listening_line(shard);
    for (index, operations) in [500, 1_000, 990, 1_010, 1_000, 500].into_iter().enumerate() {
        text += &second(START_UNIX_MS + 1_000 * index as u64, operations, 0);
    }
    text + &total_line(5_000)
}

/// A whole run: 2 servers, 2 clients, no fault.
pub(crate) fn whole_run(name: &str) -> Scratch {
    let folder = Scratch::new(name);
    folder.file("run.json", DESCRIPTION);
    for number in 1..=2 {
        folder.file(&format!("kvs-server-{number}.log"), &server_log(&format!("{number}/2")));
        let result = client(START_UNIX_MS);
        result.write(&folder.0.join(format!("kvs-client-{number}.json"))).unwrap();
    }
    folder
}

#[test]
fn a_whole_folder_is_read() {
    let folder = whole_run("folder-whole");
    let run = RunFolder::read(&folder.0).unwrap();
    assert_eq!((run.description.servers, run.description.clients), (2, 2));
    assert_eq!(run.servers[1].listening.as_ref().unwrap().shard, "2/2");
    assert_eq!(run.read_clients().unwrap().len(), 2);
}

/// A check's result, with fields that the total does not tell.
pub(crate) const CHECK: &str = r#"{"verdict": "linearizable", "conclusion": "linearizable",
    "recorded": 9000, "checked": 9000, "keys": 7, "unknown": 3, "restarts": 0}"#;

#[test]
fn a_check_is_read_if_there_was_one() {
    let folder = whole_run("folder-check");
    let check = || RunFolder::read(&folder.0)?.read_check();
    assert_eq!(check().unwrap(), None);
    folder.file("check.json", CHECK);
    let found = check().unwrap().unwrap();
    assert_eq!((found.verdict, found.recorded, found.unknown), (Verdict::Linearizable, 9000, 3));
    for wrong in ["", "{}", &CHECK.replace("\"linearizable\", \"c", "\"fine\", \"c")] {
        folder.file("check.json", wrong);
        let error = check().unwrap_err();
        assert!(error.to_string().contains("check.json"), "{error}");
    }
}

#[test]
fn what_is_missing_is_named() {
    let folder = whole_run("folder-missing");
    for name in ["kvs-server-2.log", "run.json"] {
        std::fs::remove_file(folder.0.join(name)).unwrap();
        let error = RunFolder::read(&folder.0).unwrap_err();
        assert!(error.to_string().contains(name), "{error}");
    }
}

#[test]
fn the_environment_is_read_if_it_was_noted() {
    let folder = whole_run("folder-environment");
    assert_eq!(RunFolder::read(&folder.0).unwrap().description.environment.hosts, []);
    let host = r#"{"name": "node0", "cpu": "Xeon", "cores": 16, "memory_bytes": 7,
        "kernel": "Linux 6.8", "system": "Ubuntu 24.04", "later": "fields are skipped"}"#;
    let noted = |host: &str| {
        let environment = format!("\"environment\": {{\"commit\": \"abc\", \"hosts\": [{host}]}}");
        DESCRIPTION.replacen('{', &format!("{{{environment}, "), 1)
    };
    folder.file("run.json", &noted(host));
    let environment = RunFolder::read(&folder.0).unwrap().description.environment;
    assert_eq!((environment.commit.as_str(), environment.hosts[0].machine.cores), ("abc", 16));
    folder.file("run.json", &noted("{}"));
    let error = RunFolder::read(&folder.0).unwrap_err();
    assert!(error.to_string().contains("missing field `name`"), "{error}");
}

/// A description as the launcher writes it of several machines.
const OF_HOSTS: &str = r#"{"mode": "cluster: 1 servers and 1 clients on 2 machines", "servers": 1, "clients": 1, "machines": 2, "server_args": "", "client_args": "-secs \"4\"", "started_unix_ms": 7, "link_mbit": null, "warnings": [{"what": "node0 has its data on eth0", "remedy": "name it as node0=10.99.0.1"},
 {"what": "a", "remedy": "b"}], "environment": {"commit": "abc-dirty", "hosts": [{"node": "node0", "role": "server 1", "address": "10.0.0.1", "interface": "eth0", "link_mbit": 10000, "name": "n0", "cpu": "Xeon", "cores": 16, "memory_bytes": 9, "kernel": "Linux 6.8", "system": "Ubuntu", "clock_mhz": 2000},
 {"name": "n1", "cpu": "Xeon", "cores": 16, "memory_bytes": 9, "kernel": "Linux 6.8", "system": "Ubuntu", "clock_mhz": null}]}}
"#;

#[test]
fn a_description_is_written_as_it_was_read() {
    let folder = Scratch::new("folder-written");
    folder.file("run.json", OF_HOSTS);
    let description = RunFolder::read_description(&folder.0).unwrap();
    assert_eq!(description.environment.hosts[0].role.as_deref(), Some("server 1"));
    description.write(&folder.0.join("again.json")).unwrap();
    assert_eq!(std::fs::read_to_string(folder.0.join("again.json")).unwrap(), OF_HOSTS);
}

#[test]
fn a_description_that_cannot_be_written_is_told_and_leaves_nothing() {
    let folder = Scratch::new("folder-unwritten");
    folder.file("run.json", OF_HOSTS);
    let description = RunFolder::read_description(&folder.0).unwrap();
    let taken = folder.0.join("taken");
    std::fs::create_dir(&taken).unwrap();
    let error = description.write(&taken).unwrap_err();
    assert!(matches!(error, ResultError::Write { .. }), "{error}");
    assert_eq!(std::fs::read_dir(&folder.0).unwrap().count(), 2, "no neighbour stays");
}

#[test]
fn a_link_speed_that_the_user_told_counts_for_all_links() {
    let folder = whole_run("folder-link");
    folder.file("kvs-client-1.log", &client_log(START_UNIX_MS, 2));
    let links = |description: &str| {
        folder.file("run.json", description);
        let run = RunFolder::read(&folder.0).unwrap();
        let client = run.read_client_logs().unwrap()[0][1].usage.network[0].link_mbit;
        (run.servers[1].intervals[5].stats.usage.network[0].link_mbit, client)
    };
    assert_eq!(links(DESCRIPTION), (None, None));
    let told = DESCRIPTION.replace("\"machines\"", "\"link_mbit\": 200, \"machines\"");
    assert_eq!(links(&told), (Some(200), Some(200)));
}

#[test]
fn a_description_that_is_none_is_told() {
    let folder = whole_run("folder-description");
    for (text, told) in [
        ("{\"mode\": \"dev", "cut off"),
        ("{}", "missing field"),
        (&DESCRIPTION.replace("\"servers\": 2", "\"servers\": 0"), "no servers"),
        (&DESCRIPTION.replace("\"servers\": 2", "\"servers\": -2"), "invalid value"),
    ] {
        folder.file("run.json", text);
        let error = RunFolder::read(&folder.0).unwrap_err();
        assert!(matches!(error, FolderError::Description { .. }), "{error}");
        assert!(error.to_string().contains(told), "{told}: {error}");
    }
}
