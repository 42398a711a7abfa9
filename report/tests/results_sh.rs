//! `scripts/measure/results.sh` writes what [`report::results`] reads.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use report::results::{Cell, Results};

/// A folder that goes away when the test ends.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("kvs-results-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// Runs a script that has the functions, with FILE set to a file in this folder.
    fn run(&self, script: &str) -> Output {
        let functions = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/measure/results.sh");
        let script = format!("set -euo pipefail\nsource '{}'\n{script}", functions.display());
        Command::new("bash")
            .args(["-c", &script])
            .env("FILE", self.file())
            .output()
            .expect("bash can be started")
    }

    fn file(&self) -> PathBuf {
        self.0.join("made/x.jsonl")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_script_writes_what_is_read_here() {
    let scratch = Scratch::new("whole");
    let output = scratch.run(
        r#"results_begin "$FILE" sizes 'A "title"' 'scripts/x \ y' size store ops_s:op/s
           results_row 1 'scc "new"' .25
           results_note 'one, with a comma'
           results_row -.5 7.x ''
           results_note two
           results_end"#,
    );
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let results = Results::read(&scratch.file()).unwrap();
    let header = &results.header;
    assert_eq!((header.name.as_str(), header.title.as_str()), ("sizes", "A \"title\""));
    assert_eq!(header.command, "scripts/x \\ y");
    assert_eq!(header.notes, ["one, with a comma", "two"]);
    let units: Vec<&str> = header.columns.iter().map(|column| column.unit.as_str()).collect();
    assert_eq!(units, ["", "", "op/s"]);
    assert!(header.environment.cores > 0 && header.environment.date.len() == 10, "{header:?}");
    assert_eq!(
        results.rows,
        [
            vec![1.0.into(), "scc \"new\"".into(), 0.25.into()],
            vec![(-0.5).into(), "7.x".into(), Cell::Empty],
        ]
    );
    assert_eq!(std::fs::read_dir(scratch.file().parent().unwrap()).unwrap().count(), 1);
}

#[test]
fn a_script_that_is_stopped_leaves_no_file() {
    let scratch = Scratch::new("stopped");
    let output = scratch.run(r#"results_begin "$FILE" a b c d && results_row 1 && exit 3"#);
    assert_eq!(output.status.code(), Some(3));
    assert!(!scratch.file().exists());
}

#[test]
fn wrong_use_is_told() {
    for (script, told) in [
        ("results_row 1", "results_begin must come before results_row"),
        ("results_end", "results_begin must come before results_end"),
        ("results_begin \"$FILE\" 'A b' t c x", "no name of a table"),
        ("results_begin \"$FILE\" a t c", "takes FILE NAME TITLE COMMAND"),
        ("results_begin \"$FILE\" a t c x y; results_row 1", "a row of 1 cells under 2 columns"),
        ("results_begin /proc/no/x a t c x", "name a file in a folder that you may write to"),
    ] {
        let output = Scratch::new("wrong").run(script);
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success(), "{script}");
        assert!(error.contains(told), "{script}: {error}");
    }
}

#[test]
fn figures_of_rounds_are_summed_up() {
    let output = Scratch::new("rounds").run(
        r#"calls=0
           a() { REPLY=$((10 * ++calls)); }
           b() { REPLY=$((++calls)); }
           results_rounds 3 a b >/dev/null
           printf '%s; %s\n' "${results_figures[a]}" "${results_figures[b]}"
           results_ratios a b && echo "$REPLY"
           results_spread 4 1 '' 3 2.5 && echo "$REPLY"
           results_spread 7 && echo "$REPLY""#,
    );
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let told = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> = told.lines().map(str::trim_end).collect();
    assert_eq!(
        lines,
        [
            // The second round goes backwards.
            "10 40 50; 2 3 6",
            "5.0000 13.3333 8.3333",
            "2.75 2.125 3.25 1 4",
            "7 7 7 7 7",
        ]
    );
}
