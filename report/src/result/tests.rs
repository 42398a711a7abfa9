use super::*;

/// A result with something in every field.
pub(crate) fn sample() -> RunResult {
    let latency = Latency {
        count: 1_000,
        min: 10.5,
        mean: 80.25,
        p50: 75.0,
        p95: 200.0,
        p99: 350.0,
        p999: 900.0,
        max: 1_234.5,
    };
    let level = Some(Level { mean: 1.5, peak: 3.0 });
    RunResult {
        version: RESULT_VERSION,
        build: Build::Release,
        mode: MODE_SINGLE_CLIENT.to_owned(),
        run_id: "20261120-141502".to_owned(),
        client_index: 0,
        client_count: 1,
        seed: u64::MAX,
        config: serde_json::json!({"workload": "YCSB-B", "batch_size": 10_000}),
        operations: 1_000,
        operations_per_second: 500.0,
        window_s: 2.0,
        window_start_unix_ms: 1_795_183_200_000,
        window_end_unix_ms: 1_795_183_202_000,
        gets: 950,
        puts: 50,
        deletes: 0,
        compare_and_swaps: 0,
        increments: 0,
        hits: 940,
        misses: 10,
        hit_ratio: hit_ratio(940, 950),
        cas_mismatches: 0,
        retried: 3,
        errors: 2,
        unknown: 1,
        value_mismatches: 0,
        verified: true,
        interrupted: false,
        wire_bytes_per_operation: 90.5,
        wire_bytes_sent: 30_000,
        wire_bytes_received: 60_500,
        latency_us: Latencies {
            batches: Some(latency),
            operations: Some(latency),
            get: Some(latency),
            put: Some(latency),
            ..Latencies::default()
        },
        acknowledged: vec![Acknowledged {
            endpoint: "127.0.0.1:8080".to_owned(),
            shard: "1/1".to_owned(),
            operations: 2_000,
        }],
        preload: Some(Preload { keys: 1_000, seconds: 0.5, operations_per_second: 2_000.0 }),
        timeline: Timeline {
            start_unix_ms: 1_795_183_200_000,
            bucket_ms: 100,
            operations: vec![50; 20],
        },
        resources: Resources {
            cpu_percent: level,
            resident_bytes: level,
            threads: level,
            connections: level,
            network_received_bytes_per_s: level,
            network_sent_bytes_per_s: level,
        },
        open_loop: Some(OpenLoop {
            offered_operations_per_second: 500.0,
            arrivals: "poisson".to_owned(),
            backlog_s: 0.01,
            backlog_operations: 5,
            pacer_lateness_us: latency,
        }),
    }
}

fn scratch(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("kvs-report-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder.join(name)
}

#[test]
fn a_result_reads_back_as_it_was_written() {
    let path = scratch("round-trip.json");
    for result in [
        sample(),
        RunResult { preload: None, latency_us: Latencies::default(), ..sample() },
        RunResult { build: Build::Debug, acknowledged: Vec::new(), ..sample() },
    ] {
        result.write(&path).unwrap();
        assert_eq!(RunResult::read(&path).unwrap(), result);
    }
    std::fs::remove_file(path).unwrap();
}

#[test]
fn absent_things_are_null_not_missing() {
    let mut result = serde_json::to_value(RunResult { preload: None, ..sample() }).unwrap();
    assert!(result["preload"].is_null());
    assert!(result["latency_us"]["cas"].is_null());
    let path = Path::new("absent.json");
    RunResult::parse(&result.to_string(), path).unwrap();

    result.as_object_mut().unwrap().remove("preload").unwrap();
    let error = RunResult::parse(&result.to_string(), path).unwrap_err();
    assert!(matches!(error, ResultError::Malformed { .. }), "{error}");
    assert!(error.to_string().contains("preload"), "{error}");

    result["preload"] = serde_json::Value::Null;
    result.as_object_mut().unwrap().remove("open_loop").unwrap();
    assert_eq!(RunResult::parse(&result.to_string(), path).unwrap().open_loop, None);
}

#[test]
fn every_field_must_be_there() {
    let whole = serde_json::to_value(sample()).unwrap();
    let path = Path::new("fields.json");
    // Files from before there were open loops are read as closed ones.
    for field in whole.as_object().unwrap().keys().filter(|field| *field != "open_loop") {
        let mut part = whole.clone();
        part.as_object_mut().unwrap().remove(field).unwrap();
        let error = RunResult::parse(&part.to_string(), path).unwrap_err();
        assert!(error.to_string().contains(field.as_str()), "{field}: {error}");
    }
}

#[test]
fn an_unknown_version_is_named_with_its_file() {
    let mut result = serde_json::to_value(sample()).unwrap();
    result["version"] = 7.into();
    result["resources"] = "of another shape".into();
    let error = RunResult::parse(&result.to_string(), Path::new("log/x.json")).unwrap_err();
    assert!(matches!(error, ResultError::UnknownVersion { found: 7, .. }), "{error}");
    let told = error.to_string();
    assert!(told.contains("log/x.json") && told.contains("version 7"), "{told}");
    assert!(told.contains("run again"), "{told}");
}

#[test]
fn a_file_cut_anywhere_is_told_as_cut_off() {
    let text = serde_json::to_string_pretty(&sample()).unwrap();
    RunResult::parse(&text, Path::new("whole.json")).unwrap();
    for end in 0..text.len() {
        let error = RunResult::parse(&text[..end], Path::new("log/cut.json")).unwrap_err();
        assert!(matches!(error, ResultError::CutOff { .. }), "at {end}: {error}");
        assert!(error.to_string().contains("log/cut.json is cut off"), "{error}");
    }
}

#[test]
fn what_is_no_result_is_told_with_the_mend() {
    for text in ["hello", "[]", "{\"a\": 1}", "{\"version\": 1} {\"version\": 1}"] {
        let error = RunResult::parse(text, Path::new("other.json")).unwrap_err();
        assert!(matches!(error, ResultError::Malformed { .. }), "{text}: {error}");
        assert!(error.to_string().contains("kvs-client -json"), "{error}");
    }
}

#[test]
fn a_missing_file_is_named() {
    let error = RunResult::read(Path::new("no/such.json")).unwrap_err();
    assert!(matches!(error, ResultError::Read { .. }), "{error}");
    assert!(error.to_string().contains("no/such.json"), "{error}");
}

#[test]
fn a_folder_that_is_not_there_is_an_error_and_leaves_nothing() {
    let error = sample().write(&scratch("nowhere/result.json")).unwrap_err();
    assert!(matches!(error, ResultError::Write { .. }), "{error}");
}

#[test]
#[should_panic(expected = "every number in it is finite")]
fn a_number_that_json_cannot_hold_is_our_mistake() {
    let result = RunResult { window_s: f64::NAN, ..sample() };
    let _ = result.write(&scratch("nan.json"));
}

#[test]
fn ratios_of_nothing_are_numbers() {
    assert_eq!(ratio(3.0, 2.0), 1.5);
    assert_eq!(ratio(3.0, 0.0), 0.0);
    assert_eq!(ratio(0.0, 0.0), 0.0);
    assert_eq!(hit_ratio(0, 0), 1.0);
    assert_eq!(hit_ratio(1, 4), 0.25);
    assert_eq!(Level::of([1.0, 5.0, 3.0]), Some(Level { mean: 3.0, peak: 5.0 }));
    assert_eq!(Level::of([]), None);
}
