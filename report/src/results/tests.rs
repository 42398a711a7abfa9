use super::*;
use crate::run_folder::tests::Scratch;

/// A table with every kind of cell.
pub(crate) fn sample() -> Results {
    let column = |name: &str, unit: &str| Column { name: name.into(), unit: unit.into() };
    let header = Header {
        version: RESULTS_VERSION,
        name: "batch_sizes".to_owned(),
        title: "Throughput against \"batch size\"".to_owned(),
        command: "kvs-lab sweep -batch_size 1,10".to_owned(),
        environment: Environment {
            cpu: "Xeon".to_owned(),
            cores: 2,
            kernel: "6.8".to_owned(),
            commit: "abc1234".to_owned(),
            date: "2026-11-21".to_owned(),
        },
        columns: vec![
            column("batch_size", ""),
            column("store", ""),
            column("ops_s", "op/s"),
            column("p99_us", "us"),
        ],
        notes: vec!["a note".to_owned()],
    };
    let rows = vec![
        vec![1.0.into(), "scc".into(), 512_345.0.into(), 12.5.into()],
        vec![10.0.into(), "scc".into(), 1.5e6.into(), Cell::Empty],
    ];
    Results { header, rows }
}

fn parse(text: &str) -> Result<Results, ResultsError> {
    Results::parse(text, Path::new("results/x.jsonl"))
}

#[test]
fn what_is_written_reads_back() {
    let folder = Scratch::new("results-write");
    let path = folder.0.join("x.jsonl");
    sample().write(&path).unwrap();
    assert_eq!(Results::read(&path).unwrap(), sample());
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(text, sample().to_text());
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines[1..],
        [r#"[1,"scc",512345,12.5]"#, r#"[10,"scc",1500000,null]"#, r#"{"rows":2}"#,]
    );
    // The neighbour that it was written to has gone.
    assert_eq!(std::fs::read_dir(&folder.0).unwrap().count(), 1);
}

#[test]
fn columns_are_found_by_their_name() {
    let results = sample();
    assert_eq!(results.column("ops_s"), Some(2));
    assert_eq!(results.column("ops"), None);
    assert_eq!(results.numbers(3), [Some(12.5), None]);
    let row: Vec<String> = results.rows[1].iter().map(Cell::text).collect();
    assert_eq!(row, ["10", "scc", "1500000", "-"]);
}

#[test]
fn a_file_cut_anywhere_is_told_as_cut_off() {
    let text = sample().to_text();
    // The last newline alone may be missing: nothing is lost with it.
    assert_eq!(parse(text.trim_end()).unwrap(), sample());
    for end in 0..text.len() - 1 {
        let error = parse(&text[..end]).unwrap_err();
        assert!(matches!(error, ResultsError::CutOff { .. }), "at {end}: {error}");
        assert!(error.to_string().contains("results/x.jsonl is cut off"), "{error}");
    }
    let told = parse(&text[..text.len() - 5]).unwrap_err().to_string();
    assert!(told.ends_with("measure again with: kvs-lab sweep -batch_size 1,10"), "{told}");
}

#[test]
fn a_lost_row_is_told_as_cut_off() {
    for (from, to) in [("[1,\"scc\",512345,12.5]\n", ""), ("{\"rows\":2}", "{\"rows\":3}")] {
        let text = sample().to_text().replace(from, to);
        let error = parse(&text).unwrap_err();
        assert!(matches!(error, ResultsError::CutOff { .. }), "{error}");
        assert!(error.to_string().contains("rows and has"), "{error}");
    }
}

#[test]
fn a_line_that_does_not_belong_is_named() {
    for (from, to, line, told) in [
        ("12.5]", "12.5,1]", 2, "5 cells under 4 columns"),
        ("12.5]", "true]", 2, "true is no number"),
        ("12.5]", "1e999]", 2, "out of range"),
        ("null]", "nul", 3, "expected"),
        ("null]\n", "null]\n\n", 4, "EOF"),
        ("null]\n", "null]\n{\"row\":1}\n", 4, "neither a row"),
        ("[1,", "{\"rows\":0}\n[1,", 2, "not the last line"),
        ("\"name\":\"batch_sizes\"", "\"name\":\"Batch sizes\"", 1, "is no name"),
        ("\"name\":\"store\"", "\"name\":\"ops_s\"", 1, "no name of its own"),
        ("\"title\"", "\"heading\"", 1, "missing field `title`"),
        ("{\"version\":1,", "{", 1, "no version"),
    ] {
        let text = sample().to_text().replacen(from, to, 1);
        assert_ne!(text, sample().to_text(), "{from} is in the sample");
        let error = parse(&text).unwrap_err();
        let ResultsError::Malformed { line: found, .. } = &error else { panic!("{to}: {error}") };
        assert_eq!(*found, line, "{error}");
        assert!(error.to_string().contains(told), "{told}: {error}");
    }
}

#[test]
fn other_files_are_not_taken_for_tables() {
    for text in ["hello\n", "[1,2]\n", "{}\n", "\n"] {
        let error = parse(text).unwrap_err();
        assert!(matches!(error, ResultsError::Malformed { line: 1, .. }), "{error}");
    }
    let error = Results::read(Path::new("no/such.jsonl")).unwrap_err();
    assert!(error.to_string().contains("no/such.jsonl"), "{error}");
}

#[test]
fn a_newer_version_is_named() {
    let text = sample().to_text().replace("\"version\":1", "\"version\":2,\"more\":[]");
    let error = parse(&text).unwrap_err();
    assert!(matches!(error, ResultsError::UnknownVersion { found: 2, .. }), "{error}");
    assert!(error.to_string().contains("version 2"), "{error}");
}

#[test]
#[should_panic(expected = "a table reads back")]
fn a_row_of_another_length_is_our_mistake() {
    let mut results = sample();
    results.rows[0].pop();
    let _ = results.write(&std::env::temp_dir().join("kvs-report-never-written.jsonl"));
}
