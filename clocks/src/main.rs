//! `kvs-clock`: how far another host's clocks are from this host's.

use std::io::{BufReader, stdin, stdout};
use std::process::{Command, ExitCode, Stdio};

use anyhow::Context;
use clap::{Parser, Subcommand};
use clocks::{Estimate, Reading, probe, serve};

/// Measures how far another host's clocks are from this host's.
#[derive(Parser)]
#[command(name = "kvs-clock", version)]
struct Cli {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Answer questions on stdin with this host's clocks; ends when stdin does
    Serve,
    /// Measure over a command that runs `kvs-clock serve` on the other host, and print four numbers in
    /// nanoseconds: what to add to its monotonic clock, what to add to its wall clock, how wrong either
    /// may be, and when that was
    Probe {
        /// Round trips, of which the shortest counts
        #[arg(long, default_value_t = 64, value_name = "N",
            value_parser = clap::value_parser!(u32).range(1..=100_000))]
        rounds: u32,
        /// Such as: -- ssh node3 kvs-clock serve
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
    /// What holds from a first measurement to a last one, or until now without one
    Join {
        /// What `probe` printed at the start, in quotes
        #[arg(allow_hyphen_values = true)]
        first: Estimate,
        /// What it printed at the end
        #[arg(allow_hyphen_values = true)]
        last: Option<Estimate>,
    },
}

fn main() -> ExitCode {
    match run(flags::parse::<Cli>().what) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("kvs-clock: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(what: What) -> anyhow::Result<()> {
    match what {
        What::Serve => Ok(serve(stdin().lock(), stdout().lock())?),
        What::Probe { rounds, command } => {
            println!("{}", measure(&command, rounds)?);
            Ok(())
        }
        What::Join { first, last } => {
            let now_ns = Reading::now().monotonic_ns;
            println!("{}", last.map_or_else(|| first.grown_old(now_ns), |last| first.join(last)));
            Ok(())
        }
    }
}

/// Measures over a command.
fn measure(command: &[String], rounds: u32) -> anyhow::Result<Estimate> {
    let mut child = Command::new(&command[0])
        .args(&command[1..])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {}", command[0]))?;
    let questions = child.stdin.take().expect("the child has a pipe for its stdin");
    let answers = BufReader::new(child.stdout.take().expect("and one for its stdout"));
    // It takes the pipes with it, so the child ends.
    let rounds = probe(questions, answers, rounds);
    child.wait()?;
    Ok(Estimate::of(&rounds?).expect("there is at least one round"))
}
