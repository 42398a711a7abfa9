//! What a run tells of itself before it begins.

use super::super::cli::settings::Settings;
use super::super::target::address::Address;
use super::super::text;
use super::super::workload::Distribution;

/// What is run, before it runs.
pub(super) fn headline(settings: &Settings) -> String {
    let Settings { workers, batch_size, depth, threads, theta, seed, .. } = settings;
    let skew = match settings.distribution {
        Distribution::Uniform => String::new(),
        _ => format!(" {theta}"),
    };
    let driven = match &settings.target {
        Address::Ours => String::new(),
        peer => format!("{peer}: "),
    };
    let verified = match (settings.verifies(), settings.verify) {
        (true, _) => "verified",
        (false, true) => "not verified: that takes 40 bytes",
        (false, false) => "not verified",
    };
    let style = match (settings.plain, settings.rate) {
        (true, _) => "one operation at a time through the plain API".to_owned(),
        (_, None) => format!("batches of {batch_size}, {depth} in flight each"),
        (_, Some(rate)) => format!(
            "an open loop at {} ({} arrivals), batches of up to {batch_size}, {depth} in flight \
             each",
            text::rate(rate),
            settings.arrivals
        ),
    };
    format!(
        "{driven}{}, {}{skew}, {} keys, values of {} bytes ({verified})\n\
         {workers} workers, {style}, {} connections per server, {threads} threads\n\
         run {}, client {} of {}, seed {seed}\n",
        settings.mix.name(),
        settings.distribution,
        text::count(settings.keys),
        settings.value_size,
        settings.client.connections,
        settings.run_name,
        settings.client_index + 1,
        settings.client_count,
    )
}
