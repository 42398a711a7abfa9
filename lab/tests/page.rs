//! Report pages in headless Chromium: the total and all pictures stand in the page and have a size,
//! nothing runs over the edge of a narrow window, and the console has no error. Leaves screenshots
//! in `log/page`.

mod harness;

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use harness::{Bed, Test, expect, root};
use regex::Regex;

const TESTS: &[Test] = &[
    ("faults of a page are seen", faults_of_a_page_are_seen),
    ("the page of a run on eight machines", eight_machines),
    ("the page of a run on one machine", one_machine),
];

/// Widths of windows, and heights that have room for the whole page. Chromium has no narrower
/// window than 500.
const WINDOWS: [(u32, u32); 2] = [(1200, 3600), (500, 5600)];

/// What a copy of the page tells of itself, in an attribute of its root: pictures that have a size,
/// and pixels that run over the edge. The page itself has no script.
const PROBE: &str = r#"<script>
    const sized = [...document.querySelectorAll("figure svg")].filter(
        svg => svg.getBoundingClientRect().height > 100).length;
    const root = document.documentElement;
    const over = Math.max(0, root.scrollWidth - innerWidth);
    root.dataset.probe = sized + " pictures, " + over + " over";
</script>"#;

fn main() -> ExitCode {
    let cannot = harness::unless_long("page").or_else(|| {
        let missing = !harness::is_installed("chromium");
        missing.then(|| "there is no chromium; run: sudo scripts/setup-page".to_owned())
    });
    harness::run("the report page in a browser", cannot, |_| {}, TESTS).exit_code()
}

/// A page as the browser shows it.
struct Shown {
    /// Its elements after its scripts have run, as HTML.
    elements: String,
    /// What the console says.
    console: String,
}

/// Opens the page in a window of that width, with a profile of its own and further flags.
fn browse(bed: &Bed, page: &Path, width: u32, height: u32, more: &str) -> Shown {
    let profile = tempfile::tempdir_in(bed.path("")).unwrap();
    let flags = format!(
        "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run \
         --disable-background-networking --disable-component-update --disable-sync \
         --hide-scrollbars --user-data-dir={} --enable-logging=stderr \
         --window-size={width},{height} {more} file://{}",
        profile.path().display(),
        page.display()
    );
    let told = bed.program("chromium", flags.split_whitespace()).ends_with(0);
    let lines = told.err.lines().filter(|line| line.contains(":CONSOLE"));
    Shown { elements: told.out, console: lines.collect() }
}

/// What the page tells of itself in a window of that width, and the page.
fn probe(bed: &Bed, page: &str, width: u32) -> (String, Shown) {
    let probed = bed.write("probed.html", &(page.to_owned() + PROBE));
    let shown = browse(bed, &probed, width, 900, "--dump-dom");
    let told = Regex::new("data-probe=\"([^\"]*)\"").unwrap();
    let told = told.captures(&shown.elements).expect("the page is shown")[1].to_owned();
    (told, shown)
}

/// A page with faults in it, so that a browser that tells of none is noticed.
fn faults_of_a_page_are_seen(bed: &Bed) {
    let page = "<figure><svg height=\"9\"></svg></figure><div style=\"width:9000px\">x</div>\
                <script>none()</script>";
    let (told, shown) = probe(bed, page, 500);
    expect(&told, "^0 pictures, [1-9][0-9]* over$");
    expect(&shown.console, "none is not defined");
}

fn eight_machines(bed: &Bed) {
    let folder = bed.path("eight");
    let arguments = [folder.to_str().unwrap(), "4", "4", "60"];
    bed.program(harness::example("report", "synthesize_run"), arguments).ends_with(0);
    let pictures = ["ops", "latency", "server", "client", "network", "share"];
    check_page(bed, "eight-machines", &folder, &pictures);
}

fn one_machine(bed: &Bed) {
    let folder = bed.path("one");
    fs::create_dir(&folder).unwrap();
    for file in fs::read_dir(root().join("report/tests/run-2x2")).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), folder.join(file.file_name())).unwrap();
    }
    check_page(bed, "one-machine", &folder, &["ops", "latency", "server", "network", "share"]);
}

/// Makes the page of the run in the folder and looks at it; it must have these pictures.
fn check_page(bed: &Bed, name: &str, folder: &Path, pictures: &[&str]) {
    let report = bed.program(bed.path("bin/kvs-report"), [folder]).ends_with(0);
    let total = report.last("^total ").out.lines().last().unwrap();
    let page = folder.join("report.html");
    let shots = root().join("log/page");
    fs::create_dir_all(&shots).unwrap();
    for (width, height) in WINDOWS {
        let (told, shown) = probe(bed, &fs::read_to_string(&page).unwrap(), width);
        assert_eq!(told, format!("{} pictures, 0 over", pictures.len()), "{width} pixels wide");
        assert_eq!(shown.console, "", "{width} pixels wide");
        assert!(shown.elements.contains(total), "the page does not show: {total}");
        for picture in pictures {
            let figure = format!("<figure id=\"{picture}\">");
            assert!(shown.elements.contains(&figure), "no picture {picture}");
        }
        let shot = shots.join(format!("{name}-{width}.png"));
        let _ = fs::remove_file(&shot);
        browse(bed, &page, width, height, &format!("--screenshot={}", shot.display()));
        assert!(shot.metadata().is_ok_and(|shot| shot.len() > 0), "no screenshot");
    }
}
