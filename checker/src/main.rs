//! `kvs-check`: decides whether the recorded histories of a run are linearizable.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use checker::history::Clock;
use checker::{CheckError, Options, Progress, Report, Verdict, check, picture};
use clap::Parser;
use flags::Stop;
use indicatif::{ProgressBar, ProgressStyle};

/// Input that can't be used: no verdict.
const EXIT_UNREADABLE: u8 = 3;
/// Memory when the system does not tell how much is free.
const MEMORY_BYTES_DEFAULT: u64 = 4 << 30;

/// Decides whether recorded histories are linearizable.
///
/// Takes the histories of all clients of one run. Exit status: 0 linearizable, 1 violation,
/// 2 undecided, 3 unreadable input or wrong flags.
#[derive(Debug, Parser)]
#[command(name = "kvs-check", version)]
struct Flags {
    /// The histories: binary ones of kvs-client, or JSON lines, also from a pipe or, for -, from the
    /// standard input.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Threads that check; all cores by default.
    #[arg(long = "threads", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
    /// Memory to use, in bytes; half of what is free by default. What does not fit goes to disk.
    #[arg(long = "memory_bytes_max", value_parser = clap::value_parser!(u64).range(1 << 20..))]
    memory_bytes_max: Option<u64>,
    /// Folder for what does not fit into memory.
    #[arg(long = "scratch", default_value_os_t = std::env::temp_dir())]
    scratch: PathBuf,
    /// Do not use the order that the servers reported: a second opinion, by the sweep.
    #[arg(long = "no_witness")]
    no_witness: bool,
    /// Check each life of a server alone; without it, a restart is a violation.
    #[arg(long = "allow_restarts")]
    allow_restarts: bool,
    /// Check files that are cut off; what they lost counts as unknown.
    #[arg(long = "allow_truncated")]
    allow_truncated: bool,
    /// The clock of a client on another host, by its number from 1, where the file does not tell:
    /// what to add to its times, and how wrong that may be, both in nanoseconds. Repeat for each.
    #[arg(long = "clock", value_name = "CLIENT:OFFSET:ERROR", value_parser = client_clock,
        action = clap::ArgAction::Append)]
    clocks: Vec<(u32, Clock)>,
    /// How wrong the clients' clocks may be beyond that, in nanoseconds.
    #[arg(long = "clock_error_ns", default_value_t = 0)]
    clock_error_ns: u64,
    /// Time for the general search of one key, in seconds; it halves with each key that used it up.
    #[arg(long = "search_secs", default_value_t = 10)]
    search_secs: u32,
    /// States that the general search of one key may remember, some 64 bytes each.
    #[arg(long = "search_states_max", default_value_t = 4 << 20)]
    search_states_max: usize,
    /// Write the result there, as one JSON object.
    #[arg(long = "json", value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the picture of a violation there; by default beside the first file.
    #[arg(long = "picture", value_name = "FILE")]
    picture: Option<PathBuf>,
}

/// `3:-1500:250`: the third client's clock is 1.5 us ahead, give or take 250 ns.
fn client_clock(text: &str) -> Result<(u32, Clock), String> {
    let clock = || {
        let mut parts = text.split(':');
        let client: u32 = parts.next()?.parse().ok()?;
        let offset_ns = parts.next()?.parse().ok()?;
        let error_ns = parts.next()?.parse().ok()?;
        let index = client.checked_sub(1)?;
        parts.next().is_none().then_some((index, Clock { offset_ns, error_ns }))
    };
    clock().ok_or_else(|| "write client:offset:error, such as 2:-1500:250".to_owned())
}

fn main() -> ExitCode {
    let flags: Flags = match flags::try_parse_from(std::env::args_os()) {
        Ok(flags) => flags,
        Err(Stop::Asked(text)) => {
            print!("{text}");
            return ExitCode::SUCCESS;
        }
        Err(Stop::Wrong(line)) => {
            eprintln!("{line}");
            return ExitCode::from(EXIT_UNREADABLE);
        }
    };
    match run(&flags) {
        Ok(report) => ExitCode::from(match report.verdict {
            Verdict::Linearizable => 0,
            Verdict::Violation => 1,
            Verdict::Undecided => 2,
        }),
        Err(error) => {
            eprintln!("kvs-check: {error:#}");
            ExitCode::from(EXIT_UNREADABLE)
        }
    }
}

fn run(flags: &Flags) -> anyhow::Result<Report> {
    let report = check_with_progress(flags)?;
    say(&report.to_string())?;
    if let Some(path) = &flags.json {
        write(path, &format!("{}\n", serde_json::to_string_pretty(&report)?))?;
    }
    if let Some(violation) = report.violations.first() {
        let path = flags.picture.clone().unwrap_or_else(|| {
            let first = flags.files[0].as_os_str();
            let mut path = if first == "-" { "history".into() } else { first.to_owned() };
            path.push(".svg");
            path.into()
        });
        // The verdict stands without its picture.
        let text = match write(&path, &picture::timeline(violation)) {
            Ok(()) => path.display().to_string(),
            Err(error) => format!("none: {error}; name another file with -picture"),
        };
        say(&format!("{:<12}  {text}\n", "picture"))?;
    }
    Ok(report)
}

/// Prints; a reader that has seen enough, such as `head`, is no failure.
fn say(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(anyhow::anyhow!("can't write to standard output ({error}); is the disk full?"))
        }
        _ => Ok(()),
    }
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(path, text)
        .map_err(|error| anyhow::anyhow!("can't write {}: {error}", path.display()))
}

fn check_with_progress(flags: &Flags) -> Result<Report, CheckError> {
    let defaults = Options::default();
    let options = Options {
        threads: flags.threads.map_or(defaults.threads, usize::from),
        memory_bytes_max: flags.memory_bytes_max.unwrap_or_else(memory_bytes_default),
        scratch: flags.scratch.clone(),
        use_witness: !flags.no_witness,
        allow_restarts: flags.allow_restarts,
        allow_truncated: flags.allow_truncated,
        clocks: flags.clocks.iter().copied().collect(),
        clock_error_ns: flags.clock_error_ns,
        search_limit: Duration::from_secs(flags.search_secs.into()),
        search_states_max: flags.search_states_max,
    };
    // indicatif draws nothing when stderr is not a terminal.
    let bar = |name: &str, form: &str| {
        let style = format!("{name} {{wide_bar}} {form} {{eta}} left");
        let style = ProgressStyle::with_template(&style).expect("the template is a valid one");
        ProgressBar::new(0).with_style(style)
    };
    let reading = bar("reading ", "{bytes} of {total_bytes}");
    let checking = bar("checking", "{human_pos} of {human_len} operations");
    let report = check(&flags.files, &options, &|progress| match progress {
        Progress::Read { bytes, total } => {
            reading.set_length(total);
            reading.inc(bytes);
        }
        Progress::Checked { operations, total } => {
            checking.set_length(total);
            checking.inc(operations);
        }
    });
    reading.finish_and_clear();
    checking.finish_and_clear();
    report
}

/// Half of the memory that is free, where the system tells.
fn memory_bytes_default() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let free = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    free.map_or(MEMORY_BYTES_DEFAULT, |kilobytes| (kilobytes * 1024 / 2).max(1 << 20))
}
