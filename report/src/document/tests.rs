use super::*;
use crate::plots::tests_of_results::batch_sizes;
use crate::run_folder::tests::{Scratch, whole_run};

const TEXT: &str = "\
# Report

<!-- table: batch_sizes -->
old
<!-- end -->

At batch 100 it is <!-- value: batch_sizes ops_s batch_size=100 store=partitioned -->?<!-- end --> M.

<!-- plot: batch batch_sizes x=batch_size y=ops_s by=store -->
<!-- end -->

<!-- table: later -->
<!-- end -->

<!-- image: flame-server.svg -->
<!-- end -->

<!-- image: flame-client.svg -->
<!-- end -->

<!-- run: run -->
<!-- end -->
The end.
";

/// A document with a table and a published run beside it.
fn scratch(name: &str) -> (Scratch, PathBuf) {
    let folder = Scratch::new(name);
    std::fs::create_dir_all(folder.0.join("results/run")).unwrap();
    folder.file("REPORT.md", TEXT);
    std::fs::create_dir(folder.0.join("images")).unwrap();
    folder.file("images/flame-server.svg", "<svg/>");
    folder.file("results/batch_sizes.jsonl", &batch_sizes().to_text());
    let run = whole_run(&format!("{name}-run"));
    for file in std::fs::read_dir(&run.0).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), folder.0.join("results/run").join(file.file_name())).unwrap();
    }
    let path = folder.0.join("REPORT.md");
    (folder, path)
}

#[test]
fn blocks_are_made_from_results_and_prose_stays() {
    let (folder, path) = scratch("document-made");
    let changed = Document::regenerate(&path).unwrap().write().unwrap();
    assert_eq!(changed[0], path);
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.starts_with("# Report\n\n<!-- table: batch_sizes -->\n| batch size | store |"));
    assert!(text.contains("    kvs-lab sweep -batch_size 1,100\n<!-- end -->"), "{text}");
    assert!(
        text.contains(
            "At batch 100 it is <!-- value: batch_sizes ops_s batch_size=100 \
        store=partitioned -->10.4<!-- end --> M."
        ),
        "{text}"
    );
    assert!(text.contains("<img src=\"images/batch.png\""), "{text}");
    assert!(
        text.contains("*Not measured yet: there is no results/later.*\n<!-- end -->"),
        "{text}"
    );
    let shown = "(images/flame-server.svg)\n<!-- end -->";
    assert!(text.contains(shown), "{text}");
    assert!(text.contains("*Not drawn yet: there is no images/flame-client.svg.*\n"), "{text}");
    assert!(text.contains("    total 2000 op/s (2+2 processes"), "{text}");
    assert!(text.contains("    ./run-cluster.sh 2 2 '' '-secs 4'\n"), "{text}");
    assert!(text.ends_with("<!-- end -->\nThe end.\n"), "{text}");
    for picture in ["batch", "ops", "server", "network", "latency"] {
        assert!(folder.0.join(format!("images/{picture}.png")).exists(), "{picture}");
    }
}

#[test]
fn a_second_time_changes_nothing() {
    let (_folder, path) = scratch("document-twice");
    assert!(!Document::regenerate(&path).unwrap().write().unwrap().is_empty());
    let again = Document::regenerate(&path).unwrap();
    again.check().unwrap();
    assert!(again.write().unwrap().is_empty());
}

#[test]
fn what_disagrees_with_the_results_is_told() {
    let (folder, path) = scratch("document-stale");
    let check = || Document::regenerate(&path).unwrap().check();
    assert!(matches!(check(), Err(DocumentError::Stale { .. })));
    Document::regenerate(&path).unwrap().write().unwrap();
    check().unwrap();

    let results = batch_sizes().to_text().replace("10400000", "10500000");
    folder.file("results/batch_sizes.jsonl", &results);
    let told = check().unwrap_err().to_string();
    assert!(told.contains("REPORT.md") && told.contains("batch.png"), "{told}");
    assert!(told.ends_with("are not what results/ says; run: make report"), "{told}");

    folder.file("results/batch_sizes.jsonl", &batch_sizes().to_text());
    folder.file("images/ops.png", "another picture");
    let told = check().unwrap_err().to_string();
    assert!(told.contains("images/ops.png is not"), "{told}");
}

#[test]
fn a_run_predicts_if_it_tells_its_clock() {
    const HOST: &str = r#""environment": {"commit": "abc", "hosts": [{"name": "a", "cpu": "Xeon",
        "cores": 8, "memory_bytes": 1, "kernel": "Linux 6.18", "system": "Debian", "clock_mhz": 2596}]},"#;
    for (host, told) in [
        (HOST.to_owned(), "| servers' cores | "),
        (HOST.replace(", \"clock_mhz\": 2596", ""), "*Not predicted: the run results/run"),
        (HOST.replace("2596", "null"), "*Not predicted: the run results/run"),
        (String::new(), "*Not predicted: the run results/run"),
    ] {
        let (folder, path) = scratch("document-capacity");
        folder.file("REPORT.md", "<!-- capacity: run -->\n<!-- end -->\n");
        let description = std::fs::read_to_string(folder.0.join("results/run/run.json")).unwrap();
        folder.file("results/run/run.json", &description.replacen('{', &format!("{{{host}"), 1));
        Document::regenerate(&path).unwrap().write().unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(told), "{host}: {text}");
        let whole =
            ["at 2.6 GHz", "kvs-report log/latest -capacity 2.6", "Linux 6.18, commit abc, 2026-"];
        assert!(whole.iter().all(|part| text.contains(part)) == host.contains("2596"), "{text}");
    }
}

#[test]
fn what_a_block_names_must_be_there() {
    for (from, to, told) in [
        ("ops_s by=store", "rate", "no column rate"),
        ("ops_s batch_size=100 store", "ops_s store", "2 rows of the table batch_sizes"),
        (
            "ops_s batch_size=100 store=partitioned",
            "rate batch_size=100 store=scc",
            "no column rate",
        ),
        ("ops_s batch_size=100", "ops_s size=100", "no column size"),
        ("<!-- table: later -->\n<!-- end -->", "<!-- table: later -->", "line 12"),
        (
            "<!-- table: later -->",
            "<!-- plot: batch batch_sizes x=batch_size y=p99_us -->",
            "two blocks draw different pictures as",
        ),
    ] {
        let (folder, path) = scratch("document-wrong");
        let text = TEXT.replacen(from, to, 1);
        assert_ne!(text, TEXT, "{from}");
        folder.file("REPORT.md", &text);
        let error = Document::regenerate(&path).map(|_| ()).unwrap_err();
        assert!(error.to_string().contains(told), "{to}: {error}");
    }
    let (folder, path) = scratch("document-cut");
    let whole = batch_sizes().to_text();
    folder.file("results/batch_sizes.jsonl", &whole[..whole.len() - 12]);
    let error = Document::regenerate(&path).map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("is cut off"), "{error}");
    let error = Document::regenerate(Path::new("no/REPORT.md")).map(|_| ()).unwrap_err();
    assert!(matches!(error, DocumentError::Read { .. }), "{error}");
}
