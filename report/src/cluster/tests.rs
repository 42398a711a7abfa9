use super::*;
use crate::result::RunResult;
use crate::run_folder::tests::{START_UNIX_MS, Scratch, client, server_log, whole_run};

fn computed(folder: &Scratch) -> Result<ClusterResult, ClusterError> {
    compute(&RunFolder::read(&folder.0)?)
}

fn told(result: &ClusterResult) -> Vec<String> {
    result.warnings.iter().map(ToString::to_string).collect()
}

fn write_client(folder: &Scratch, number: u32, result: &RunResult) {
    result.write(&folder.0.join(format!("kvs-client-{number}.json"))).unwrap();
}

#[test]
fn a_run_without_fault_has_a_total() {
    let folder = whole_run("cluster-whole");
    let result = computed(&folder).unwrap();
    assert_eq!(result.operations, 8_000.0);
    assert_eq!(result.operations_per_second, 2_000.0);
    assert_eq!(result.overlap, 1.0);
    assert_eq!(result.server_medians_sum, Some(2_000.0));
    assert_eq!(result.sum.operations, 8_000);
    assert_eq!(result.hit_ratio, 1.0);
    assert_eq!(result.per_server[0].share, 0.5);
    assert_eq!((result.per_server[0].executed, result.per_server[0].acknowledged), (5_000, 5_000));
    assert_eq!(result.per_server[0].cpu_percent_mean, Some(180.5));
    assert_eq!(result.build, Build::Release);
    assert_eq!(result.warnings, []);
    assert_eq!(result.failures, [""; 0]);
}

#[test]
fn only_the_time_in_which_all_measure_counts() {
    let folder = whole_run("cluster-shifted");
    // The second client begins 250 ms later: 3.75 s in common, edges inside a bucket.
    let mut late = client(START_UNIX_MS + 250);
    late.timeline.operations = vec![200; 40];
    late.operations = 8_000;
    write_client(&folder, 2, &late);
    let result = computed(&folder).unwrap();
    assert_eq!(result.window.seconds(), 3.75);
    assert_eq!(result.overlap, 0.9375);
    assert_eq!(result.operations_each_second, [3_000.0; 3]);
    assert_eq!(result.operations, 3_750.0 + 7_500.0);
    assert_eq!(result.operations_per_second, 3_000.0);
    assert_eq!(result.sum.operations, 12_000);
}

#[test]
fn too_little_in_common_is_no_total() {
    let folder = whole_run("cluster-overlap");
    write_client(&folder, 2, &client(START_UNIX_MS + 400));
    assert_eq!(computed(&folder).unwrap().overlap, 0.9);
    for shift_ms in [401, 3_999, 4_000, 10_000] {
        write_client(&folder, 2, &client(START_UNIX_MS + shift_ms));
        let error = computed(&folder).unwrap_err();
        assert!(matches!(error, ClusterError::Overlap { .. }), "{shift_ms}: {error}");
    }
    let told = computed(&folder).unwrap_err().to_string();
    assert!(told.contains("0.0 s of 4.0 s") && told.contains("-secs"), "{told}");
}

#[test]
fn a_last_bucket_that_reaches_past_the_window_counts_whole() {
    let mut result = client(START_UNIX_MS);
    result.window_end_unix_ms = START_UNIX_MS + 3_950;
    let window = Window::of(&result);
    assert_eq!(completed_in(&result.timeline, window, &result), 4_000.0);
    let window = Window { end_unix_ms: START_UNIX_MS + 3_925, ..window };
    assert_eq!(completed_in(&result.timeline, window, &result), 3_950.0);
}

#[test]
fn counts_that_differ_are_no_total() {
    let folder = whole_run("cluster-counts");
    for executed in [4_999, 5_001] {
        let log = server_log("1/2").replace(":5000", &format!(":{executed}"));
        folder.file("kvs-server-1.log", &log);
        let error = computed(&folder).unwrap_err();
        assert!(matches!(error, ClusterError::Applied { .. }), "{error}");
        let told = error.to_string();
        assert!(told.contains("1/2") && told.contains(&executed.to_string()), "{told}");
    }
}

#[test]
fn lost_answers_excuse_more_but_never_less() {
    let folder = whole_run("cluster-lost");
    write_client(&folder, 1, &RunResult { unknown: 1, ..client(START_UNIX_MS) });
    let executed = |executed: u64, replayed: u64| {
        let log = server_log("1/2").replace(":5000", &format!(":{executed}"));
        let replayed = format!("\"replayed\":{replayed},");
        folder.file("kvs-server-1.log", &log.replace("\"replayed\":0,", &replayed));
        computed(&folder).map(|result| told(&result))
    };
    let warnings = executed(5_001, 0).unwrap();
    assert!(warnings[0].contains("1 operations more"), "{warnings:?}");
    assert!(matches!(executed(5_002, 0), Err(ClusterError::Applied { .. })));
    let warnings = executed(5_101, 100).unwrap();
    assert!(warnings[0].contains("100 operations were sent again"), "{warnings:?}");
    assert!(matches!(executed(5_102, 100), Err(ClusterError::Applied { .. })));
    assert!(matches!(executed(4_999, 100), Err(ClusterError::Applied { .. })));

    write_client(&folder, 1, &RunResult { interrupted: true, ..client(START_UNIX_MS) });
    assert!(executed(5_002, 0).is_ok());
    assert!(matches!(executed(4_999, 0), Err(ClusterError::Applied { .. })));
}

#[test]
fn a_server_that_died_is_named_and_the_total_still_told() {
    let folder = whole_run("cluster-died");
    let whole = computed(&folder).unwrap();
    let log = server_log("2/2");
    let (open, _) = log.split_once("total {").unwrap();
    folder.file("kvs-server-2.log", open);
    let result = computed(&folder).unwrap();
    assert_eq!(result.failures, ["server 2 died"]);
    assert_eq!(result.operations_per_second, whole.operations_per_second);
    let [living, dead] = &result.per_server[..] else { panic!("two servers") };
    assert!(living.ended && !dead.ended);
    // Its last line says 0, but the clients know of 5,000.
    assert_eq!((dead.executed, dead.acknowledged, dead.share), (5_000, 5_000, 0.5));
    assert_eq!(dead.resident_bytes_peak, Some(2_000_000));
    // The living one is still held to its counts.
    folder.file("kvs-server-1.log", &server_log("1/2").replace(":5000", ":4999"));
    assert!(matches!(computed(&folder), Err(ClusterError::Applied { .. })));
}

#[test]
fn a_client_that_died_is_named_and_the_total_still_told() {
    let folder = whole_run("cluster-client-died");
    std::fs::remove_file(folder.0.join("kvs-client-1.json")).unwrap();
    let result = computed(&folder).unwrap();
    assert_eq!(result.failures, ["client 1 left no result"]);
    assert_eq!((result.operations, result.clients), (4_000.0, 2));
    let numbers: Vec<u32> = result.per_client.iter().map(|client| client.number).collect();
    assert_eq!(numbers, [2]);
    // The servers did more than the second client knows of, and may not have done less.
    assert_eq!((result.per_server[0].executed, result.per_server[0].acknowledged), (5_000, 2_500));
    folder.file("kvs-server-1.log", &server_log("1/2").replace(":5000", ":2499"));
    assert!(matches!(computed(&folder), Err(ClusterError::Applied { .. })));

    std::fs::remove_file(folder.0.join("kvs-client-2.json")).unwrap();
    let error = computed(&folder).unwrap_err();
    assert!(error.to_string().contains("no client left a result"), "{error}");
}

#[test]
fn a_server_that_never_listened_is_named() {
    let folder = whole_run("cluster-server");
    folder.file("kvs-server-2.log", "error: port 8080 is taken\n");
    let error = computed(&folder).unwrap_err();
    assert!(matches!(error, ClusterError::NeverListened { server: 2, .. }), "{error}");
    assert!(error.to_string().contains("kvs-server-2.log"), "{error}");
}

#[test]
fn files_of_several_runs_are_not_added_up() {
    let folder = whole_run("cluster-mixed");
    for shard in ["2/3", "1/2"] {
        folder.file("kvs-server-2.log", &server_log(shard));
        let error = computed(&folder).unwrap_err();
        assert!(matches!(error, ClusterError::ForeignServer { server: 2, .. }), "{error}");
        assert!(error.to_string().contains("run again"), "{error}");
    }
    folder.file("kvs-server-2.log", &server_log("2/2"));
    let mut foreign = client(START_UNIX_MS);
    foreign.acknowledged[1].shard = "2/3".to_owned();
    write_client(&folder, 1, &foreign);
    let error = computed(&folder).unwrap_err();
    assert!(matches!(error, ClusterError::ForeignShard { client: 1, .. }), "{error}");
    write_client(&folder, 1, &client(START_UNIX_MS));
    assert!(computed(&folder).is_ok());
    write_client(
        &folder,
        2,
        &RunResult { run_id: "yesterday".to_owned(), ..client(START_UNIX_MS) },
    );
    let error = computed(&folder).unwrap_err();
    assert!(matches!(error, ClusterError::ForeignClient { client: 2, .. }), "{error}");
}

#[test]
fn unsteady_servers_are_warned_of() {
    let folder = whole_run("cluster-unsteady");
    for (rate, warned) in [("1090.00", false), ("1110.00", true)] {
        let mut log = server_log("1/2");
        for old in ["1000.00", "1010.00", "990.00"] {
            log = log.replace(&format!("ops/s {old}"), &format!("ops/s {rate}"));
        }
        folder.file("kvs-server-1.log", &log);
        let result = computed(&folder).unwrap();
        assert_eq!(result.per_server[0].median_operations_per_second, rate.parse().ok());
        let told = told(&result).iter().any(|warning| warning.contains("from the total"));
        assert_eq!(told, warned, "{:?}", result.warnings);
    }
}

#[test]
fn a_run_too_short_for_medians_is_warned_of() {
    let folder = whole_run("cluster-short");
    folder.file("kvs-server-1.log", &server_log("1/2").replace("17951832", "17951831"));
    let result = computed(&folder).unwrap();
    assert_eq!(result.server_medians_sum, None);
    assert!(told(&result)[0].contains("-secs"), "{:?}", result.warnings);
}

#[test]
fn a_timeline_that_lost_operations_is_warned_of() {
    let folder = whole_run("cluster-timeline");
    write_client(&folder, 1, &RunResult { operations: 4_100, ..client(START_UNIX_MS) });
    let warnings = told(&computed(&folder).unwrap());
    assert!(warnings[0].contains("timeline"), "{warnings:?}");
}

#[test]
fn wrong_values_are_no_total() {
    let folder = whole_run("cluster-values");
    write_client(&folder, 2, &RunResult { value_mismatches: 3, ..client(START_UNIX_MS) });
    let error = computed(&folder).unwrap_err();
    assert!(matches!(error, ClusterError::WrongValues { count: 3 }), "{error}");
}

#[test]
fn nothing_measured_is_told() {
    let folder = whole_run("cluster-nothing");
    let mut idle = client(START_UNIX_MS);
    idle.timeline.operations = vec![0; 40];
    write_client(&folder, 1, &idle);
    assert!(computed(&folder).is_ok());
    write_client(&folder, 2, &idle);
    assert!(matches!(computed(&folder), Err(ClusterError::NothingMeasured { .. })));
    idle.window_end_unix_ms = idle.window_start_unix_ms;
    write_client(&folder, 2, &idle);
    let error = computed(&folder).unwrap_err();
    assert!(error.to_string().contains("client 2 has an empty window"), "{error}");
}

#[test]
fn one_debug_build_makes_the_run_one() {
    let folder = whole_run("cluster-debug");
    write_client(&folder, 2, &RunResult { build: Build::Debug, ..client(START_UNIX_MS) });
    assert_eq!(computed(&folder).unwrap().build, Build::Debug);
}

#[test]
fn the_file_begins_with_the_mode() {
    let folder = whole_run("cluster-file");
    let path = folder.0.join("cluster.json");
    let result = computed(&folder).unwrap();
    result.write(&path).unwrap();
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.starts_with("{\n  \"mode\": \"dev: 4 processes on ONE machine"), "{text}");
    assert_eq!(serde_json::from_str::<ClusterResult>(&text).unwrap(), result);
}

#[test]
fn warnings_name_their_remedy() {
    let folder = whole_run("cluster-warnings");
    let mut result = client(START_UNIX_MS);
    (result.hits, result.errors, result.unknown) = (3_799, 2, 1);
    write_client(&folder, 1, &result);
    folder.file("kvs-server-1.log", &server_log("1/2").replace(":5000", ":5001"));
    let warnings = told(&computed(&folder).unwrap());
    for expected in [
        "1 of 7600 GETs found no key: load the keys",
        "2 operations failed, of 1 nobody knows the outcome: the clients' logs say why",
        "executed 1 operations more than were acknowledged: answers were lost",
    ] {
        assert!(warnings.iter().any(|warning| warning.contains(expected)), "{warnings:?}");
    }
    // Whoever deletes, misses.
    result.deletes = 1;
    write_client(&folder, 1, &result);
    let warnings = told(&computed(&folder).unwrap());
    assert!(warnings.iter().all(|warning| !warning.contains("found no key")), "{warnings:?}");
}

#[test]
fn uneven_shards_are_warned_of() {
    let folder = whole_run("cluster-uneven");
    for (first, second, warned) in [(2_990, 2_010, false), (3_010, 1_990, true)] {
        let mut result = client(START_UNIX_MS);
        result.acknowledged[0].operations = first;
        result.acknowledged[1].operations = second;
        for number in 1..=2 {
            write_client(&folder, number, &result);
            let executed = if number == 1 { first } else { second };
            let log = server_log(&format!("{number}/2"));
            let log = log.replace(":5000", &format!(":{}", 2 * executed));
            folder.file(&format!("kvs-server-{number}.log"), &log);
        }
        let warnings = told(&computed(&folder).unwrap());
        let told = warnings.iter().any(|warning| warning.starts_with("shard 1/2 did 60%"));
        assert_eq!(told, warned, "{warnings:?}");
    }
}

#[test]
fn seconds_that_a_server_did_not_log_are_warned_of() {
    let folder = whole_run("cluster-dropped");
    let log = server_log("1/2");
    let third = log.match_indices("get/s").nth(2).unwrap().0;
    let fourth = log.match_indices("get/s").nth(3).unwrap().0;
    folder.file("kvs-server-1.log", &(log[..third].to_owned() + &log[fourth..]));
    let warnings = told(&computed(&folder).unwrap());
    assert!(
        warnings[0].starts_with("not every second was logged (server 1 left out 1)"),
        "{warnings:?}"
    );
}
