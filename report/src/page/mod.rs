//! The report of one run: a single HTML page that needs nothing but itself.
//!
//! Style and pictures stand inside the page, so that it can be mailed, archived and read without a
//! network. It has no script. Everything on it comes from the run's folder; every text is escaped
//! where it is put in, because the markup is made by `maud`, not by joining strings.
//!
//! `sections` are the parts from top to bottom, `tables` those of them that are tables,
//! `numbers` how figures are written.

mod numbers;
mod sections;
mod tables;

use std::path::PathBuf;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::cluster::{ClusterError, ClusterResult};
use crate::plots::Picture;
use crate::result::write_whole;
use crate::run_folder::{MeasuredClient, RunFolder};

/// What a page tells.
pub struct Page<'a> {
    run: &'a RunFolder,
    result: Result<&'a ClusterResult, String>,
    /// The clients that left a result.
    clients: Vec<MeasuredClient>,
    pictures: &'a [Picture],
}

/// The page could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {}: {source}; name a folder that you may write to", path.display())]
pub struct PageError {
    path: PathBuf,
    source: std::io::Error,
}

impl<'a> Page<'a> {
    /// The page of a run: its total or why there is none, and its pictures.
    pub fn new(
        run: &'a RunFolder,
        result: &'a Result<ClusterResult, ClusterError>,
        pictures: &'a [Picture],
    ) -> Self {
        let result = result.as_ref().map_err(ToString::to_string);
        // If they cannot be read, there is no total, and its reason says so.
        let clients = run.read_clients().unwrap_or_default();
        Self { run, result, clients, pictures }
    }

    /// Writes `report.html` into the run's folder.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn write(&self) -> Result<(), PageError> {
        let path = self.run.path.join("report.html");
        write_whole(&path, &self.html()).map_err(|source| PageError { path, source })
    }

    /// The page's text.
    pub fn html(&self) -> String {
        let title = format!("kvs run {}", self.name());
        let page: Markup = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    // Browsers would ask a server for an icon.
                    link rel="icon" href="data:,";
                    title { (title) }
                    style { (PreEscaped(include_str!("style.css"))) }
                }
                body {
                    (sections::summary(self))
                    (sections::warnings(self))
                    (sections::figures(self.pictures))
                    (tables::processes(self))
                    (tables::latencies(&self.clients))
                    (sections::verdict(self))
                    (sections::environment(self))
                    footer {
                        "Written by kvs-report " (env!("CARGO_PKG_VERSION"))
                        " from the logs and results in the folder of the run. Its figures stand in "
                        "cluster.json, the pictures beside it as SVG and PNG."
                    }
                }
            }
        };
        page.into_string()
    }

    /// The run's name: its id, or its folder's.
    fn name(&self) -> String {
        let folder = || self.run.path.file_name().map(|name| name.to_string_lossy().into_owned());
        let id = self.clients.first().map(|client| client.result.run_id.clone());
        id.filter(|id| !id.is_empty()).or_else(folder).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster;
    use crate::plots;
    use crate::run_folder::tests::{CHECK, DESCRIPTION, START_UNIX_MS, Scratch, client, whole_run};

    fn page(folder: &Scratch) -> String {
        let run = RunFolder::read(&folder.0).unwrap();
        let result = cluster::compute(&run);
        let pictures = plots::of_run(&run, None).unwrap_or_default();
        Page::new(&run, &result, &pictures).html()
    }

    #[test]
    fn a_whole_run_is_told() {
        let folder = whole_run("page-whole");
        let run = RunFolder::read(&folder.0).unwrap();
        let result = cluster::compute(&run).unwrap();
        let page = page(&folder);
        for text in [
            "2,000 operations per second",
            &crate::table::total_line(&result),
            "Limited by: ",
            "dev: 4 processes on ONE machine, not a cluster figure",
            "Not checked",
            "client 2 PUT",
            "-secs 4",
            "./run-cluster.sh 2 2 '' '-secs 4 -seed 18446744073709551615'",
        ] {
            assert!(page.contains(text), "{text} is on the page");
        }
        for id in ["total", "ops", "latency", "server", "network", "share", "servers", "clients"] {
            assert_eq!(page.matches(&format!(" id=\"{id}\"")).count(), 1, "{id}");
        }
        assert_eq!(page.matches("<svg ").count(), 5);
        assert!(page.contains("Servers and clients shared one machine."), "a warning of the place");
    }

    #[test]
    fn a_run_with_nothing_to_warn_of_has_no_warnings() {
        let folder = whole_run("page-clean");
        folder.file("run.json", &DESCRIPTION.replace("\"machines\": 1", "\"machines\": 4"));
        assert!(!page(&folder).contains("Warnings"));
    }

    #[test]
    fn the_page_needs_nothing_but_itself() {
        let page = page(&whole_run("page-alone")).replace("http://www.w3.org/2000/svg", "");
        for outside in ["http:", "https:", "src=", "url(", "@import", "<script"] {
            assert!(!page.contains(outside), "{outside}");
        }
    }

    #[test]
    fn every_text_is_escaped() {
        let folder = whole_run("page-escaped");
        let bad = r#"<script>alert("1")</script> & 'x'"#;
        let quoted = serde_json::to_string(bad).unwrap();
        let description = DESCRIPTION
            .replace("\"server_args\": \"\"", &format!("\"server_args\": {quoted}"))
            .replace("\"-secs 4\"", &quoted)
            .replace("\"dev: 4 processes on ONE machine, not a cluster figure\"", &quoted);
        assert_ne!(description, DESCRIPTION);
        let host = format!(
            r#""environment": {{"commit": {quoted}, "hosts": [{{"name": {quoted}, "cpu": {quoted},
                "cores": 1, "memory_bytes": 1, "kernel": {quoted}, "system": {quoted}}}]}}, "#
        );
        folder.file("run.json", &description.replacen('{', &format!("{{{host}"), 1));
        let mut result = client(START_UNIX_MS);
        result.run_id = bad.to_owned();
        result.config = serde_json::json!({"workload": bad, bad: bad});
        result.write(&folder.0.join("kvs-client-1.json")).unwrap();
        folder
            .file("check.json", &CHECK.replace("\"linearizable\", \"r", &format!("{quoted}, \"r")));
        let page = page(&folder);
        assert!(!page.contains("<script"));
        assert!(!page.contains("alert(\"1\")"));
        assert!(page.matches("&lt;script&gt;").count() >= 12);
    }

    #[test]
    fn a_run_without_a_total_has_a_page_that_says_why() {
        let folder = whole_run("page-no-total");
        folder.file("kvs-client-2.json", "{\"version\": 1, ");
        let page = page(&folder);
        assert!(page.contains("No total") && page.contains("is cut off"));
        assert!(page.contains(" id=\"ops\"") && !page.contains(" id=\"clients\""));
    }

    #[test]
    fn a_run_that_lost_a_client_says_so_and_tells_the_others() {
        let folder = whole_run("page-lost");
        std::fs::remove_file(folder.0.join("kvs-client-1.json")).unwrap();
        let page = page(&folder);
        assert!(page.contains("Not whole: client 1 left no result."));
        assert!(page.contains("client 2 GET") && !page.contains("client 1 GET"));
    }

    #[test]
    fn warnings_and_a_check_are_told() {
        let folder = whole_run("page-check");
        let mut slow = client(START_UNIX_MS);
        slow.timeline.operations = vec![50; 40];
        slow.write(&folder.0.join("kvs-client-2.json")).unwrap();
        folder.file("check.json", CHECK);
        let told = page(&folder);
        assert!(told.contains("Warnings") && told.contains("its timeline"));
        assert!(told.contains("9,000 operations recorded") && !told.contains("Not checked"));
        folder.file("check.json", &CHECK.replace("\"linearizable\", \"c", "\"violation\", \"c"));
        assert!(page(&folder).contains("NOT LINEARIZABLE"));
    }

    #[test]
    fn clocks_of_several_hosts_are_told_and_of_one_are_not() {
        let folder = whole_run("page-clocks");
        assert!(!page(&folder).contains("id=\"clocks\""));
        let clock = r#"{"node": "node7", "process": "kvs-client 1", "offset_ns": 1,
            "wall_offset_ns": 2, "error_ns": 81500, "start": {"offset_ns": -1234500,
            "wall_offset_ns": 2500, "error_ns": 3}, "end": null}"#;
        folder.file("clocks.json", &format!("{{\"clocks\": [{clock}]}}"));
        let row = "<td>node7 (kvs-client 1)</td><td>-1234.5</td><td>2.5</td><td>-</td><td>-</td>\
                   <td>81.5</td>";
        assert!(page(&folder).contains(row));
    }

    #[test]
    fn a_page_that_cannot_be_written_is_named() {
        let folder = whole_run("page-unwritable");
        let mut run = RunFolder::read(&folder.0).unwrap();
        let result = cluster::compute(&run);
        run.path = folder.0.join("gone");
        let error = Page::new(&run, &result, &[]).write().unwrap_err();
        assert!(error.to_string().contains("report.html"), "{error}");
    }
}
