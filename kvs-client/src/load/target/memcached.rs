//! memcached, through a small client of its own over the text protocol.
//!
//! The client crates that are kept up send one kind of command at a time, or one request per key, and
//! wait for its reply: a batch that mixes GETs and SETs would cost a round trip per change between
//! them. Here a batch is one write, and neighbouring GETs are one multiget.
//!
//! memcached differs in what it can do: a counter must be there before it is incremented, counts
//! without sign, and a CAS compares versions. So a CAS is a `gets`, a comparison here, and a `cas` of
//! that version, which takes a second round trip.

mod answers;
mod driver;
mod protocol;

use std::sync::Arc;

use anyhow::{Context, anyhow, bail};
use kvs_client::ServerInfo;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};

use super::super::cli::settings::Settings;
use super::super::workload::Choice;
use super::address::PeerAddress;
use super::peer::{Counted, Peer, WireBytes};
use driver::MemcachedLink;

/// What an item takes beside key and value, at most, in bytes.
const ITEM_EXTRA_BYTES: usize = 128;

/// Connects to a memcached server.
///
/// # Errors
///
/// Why it can't be driven, or not with this workload, and what mends that.
pub(crate) async fn connect(
    address: &PeerAddress,
    settings: &Settings,
) -> anyhow::Result<Peer<MemcachedLink>> {
    check(settings)?;
    let wire = Arc::new(WireBytes::default());
    let endpoint: Arc<str> = address.endpoint().into();
    let timeout = settings.client.timeout;
    let mut links = Vec::new();
    let mut server = None;
    for _ in 0..settings.client.connections {
        let stream =
            Counted::connect(&address.host, address.port, &wire).await.with_context(|| {
                format!("cannot connect to memcached at {endpoint}; is it running?")
            })?;
        let mut stream = BufReader::new(stream);
        if server.is_none() {
            let told = tokio::time::timeout(timeout, describe(&mut stream, address, settings));
            let silent = || "it does not answer; is another service there?".to_owned();
            let told = told.await.map_err(|_| anyhow!(silent()));
            let told = told.and_then(|told| told);
            server = Some(told.with_context(|| format!("memcached at {endpoint}"))?);
        }
        links.push(MemcachedLink::start(stream.into_inner(), &endpoint, timeout));
    }
    let server = server.expect("there is at least one connection");
    Ok(Peer::new(links, server, wire))
}

/// Refuses what memcached can't do.
fn check(settings: &Settings) -> anyhow::Result<()> {
    if settings.has_counters() && !settings.preload {
        bail!("memcached's incr does not create a counter: leave out -preload=false");
    }
    if settings.mix.percent(Choice::ReadModifyWrite) > 0.0 && settings.depth > 1 {
        bail!(
            "a CAS on memcached takes two round trips, in which the worker's next batch would \
             overtake it: take -depth 1"
        );
    }
    Ok(())
}

/// Asks the server who it is.
async fn describe(
    stream: &mut BufReader<Counted>,
    address: &PeerAddress,
    settings: &Settings,
) -> anyhow::Result<ServerInfo> {
    stream.write_all(b"stats\r\nstats settings\r\n").await?;
    let (stats, limits) = (statistics(stream).await?, statistics(stream).await?);
    let find = |from: &[(String, String)], name: &str| {
        let found = from.iter().find(|(stat, _)| stat == name);
        found.map(|(_, value)| value.clone()).unwrap_or_default()
    };
    let number = |from, name| find(from, name).parse::<u64>().unwrap_or(0);
    let item_bytes_max = number(&limits, "item_size_max") as usize;
    let item_bytes = settings.value_size.max + ITEM_EXTRA_BYTES;
    if item_bytes_max > 0 && item_bytes > item_bytes_max {
        bail!("its items have up to {item_bytes_max} bytes: start it with -I {item_bytes}");
    }
    let memory_max = number(&stats, "limit_maxbytes");
    // Its process and the second in which it started.
    let started = number(&stats, "time").saturating_sub(number(&stats, "uptime"));
    Ok(ServerInfo {
        endpoint: address.endpoint(),
        place: "1/1".to_owned(),
        data_id: started << 32 | number(&stats, "pid"),
        store: "memcached".to_owned(),
        partitions: 1,
        threads: number(&stats, "threads") as u32,
        memory_free_bytes: memory_max.saturating_sub(number(&stats, "bytes")),
        memory_total_bytes: memory_max,
        host: format!("memcached at {} (its limit -m)", address.endpoint()),
        keys: number(&stats, "curr_items"),
        version: find(&stats, "version"),
    })
}

/// Reads `STAT name value` lines up to `END`.
async fn statistics(stream: &mut BufReader<Counted>) -> anyhow::Result<Vec<(String, String)>> {
    const LINES_MAX: usize = 1000;
    const LINE_BYTES_MAX: u64 = 4096;
    let mut statistics = Vec::new();
    for _ in 0..LINES_MAX {
        let mut line = Vec::new();
        (&mut *stream).take(LINE_BYTES_MAX).read_until(b'\n', &mut line).await?;
        let text = String::from_utf8_lossy(&line);
        let mut words = text.trim_end().splitn(3, ' ');
        match (words.next(), words.next(), words.next()) {
            (Some("END"), None, None) => return Ok(statistics),
            (Some("STAT"), Some(name), value) => {
                statistics.push((name.to_owned(), value.unwrap_or_default().to_owned()));
            }
            (Some("CLIENT_ERROR"), ..) if text.contains("unauthenticated") => {
                bail!("it asks for a password; start it without -Y and SASL")
            }
            _ => bail!("it does not answer as memcached does; is another service there?"),
        }
    }
    bail!("it does not end its answer; is another service there?")
}
