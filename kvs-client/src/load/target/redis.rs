//! Redis, through a small client of its own: a batch is a pipeline on a connection that workers share.
//!
//! GET, SET, DEL and INCRBY are Redis' own. CAS is a script that compares and sets, which Redis
//! runs as one step.

mod protocol;

use std::sync::Arc;

use anyhow::{Context, bail};
use bytes::BytesMut;
use kvs_client::{Config, ServerInfo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::address::PeerAddress;
use super::answers::PeerAnswers;
use super::driver::{DrivenLink, Protocol};
use super::peer::{Counted, Peer, PeerFailure, WireBytes};
use protocol::{RedisBatch, RedisDecoder, Reply, command};

/// Sets KEYS\[1\] to ARGV\[3\] if it holds ARGV\[2\], or, when ARGV\[1\] is 0, if it is missing.
/// Answers 1, or what the key holds.
const COMPARE_AND_SWAP: &str = "local held = redis.call('GET', KEYS[1])\n\
    local match\n\
    if ARGV[1] == '0' then match = not held else match = held == ARGV[2] end\n\
    if match then redis.call('SET', KEYS[1], ARGV[3]) return 1 end\n\
    return held";

/// The name that Redis gives the script: its SHA-1.
const COMPARE_AND_SWAP_SHA1: &str = "d2cf592dafa85a95ca3690962f3e0d9c86d79b2d";

/// Longest answer to a question of the start, in bytes.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// Redis' commands and replies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Redis;

impl Protocol for Redis {
    const NAME: &'static str = "redis";
    type Batch = RedisBatch;
    type Commands = RedisBatch;
    type Decoder = RedisDecoder;

    async fn call(link: DrivenLink<Self>, batch: RedisBatch) -> Result<PeerAnswers, PeerFailure> {
        link.exchange(batch).await
    }
}

/// Connects to a Redis server.
///
/// # Errors
///
/// Why it can't be driven, and what mends that.
pub(crate) async fn connect(
    address: &PeerAddress,
    config: &Config,
) -> anyhow::Result<Peer<DrivenLink<Redis>>> {
    let wire = Arc::new(WireBytes::default());
    let endpoint: Arc<str> = address.endpoint().into();
    let mut links = Vec::new();
    let mut server = None;
    for _ in 0..config.connections {
        let mut stream = Counted::connect(&address.host, address.port, &wire)
            .await
            .with_context(|| format!("cannot connect to redis at {endpoint}; is it running?"))?;
        let told = tokio::time::timeout(config.timeout, greet(&mut stream, address, &server));
        let told = match told.await {
            Ok(told) => told,
            Err(_) => Err(anyhow::anyhow!("it does not answer; is another service there?")),
        };
        server = Some(told.with_context(|| format!("redis at {endpoint}"))?);
        links.push(DrivenLink::start(stream, &endpoint, config.timeout));
    }
    let server = server.expect("there is at least one connection");
    Ok(Peer::new(links, server, wire))
}

/// Gives the password, and on the first connection asks the server who it is.
async fn greet(
    stream: &mut Counted,
    address: &PeerAddress,
    known: &Option<ServerInfo>,
) -> anyhow::Result<ServerInfo> {
    if let Some(password) = &address.password {
        ask(stream, &["AUTH", password]).await?;
    }
    if let Some(known) = known {
        return Ok(known.clone());
    }
    let Reply::Bulk(info) = ask(stream, &["INFO"]).await? else { bail!("{STRANGE}") };
    let Reply::Integer(keys) = ask(stream, &["DBSIZE"]).await? else { bail!("{STRANGE}") };
    let script = ask(stream, &["SCRIPT", "LOAD", COMPARE_AND_SWAP]).await?;
    if script != Reply::Bulk(COMPARE_AND_SWAP_SHA1.as_bytes().to_vec()) {
        bail!("it gives our script another name than its SHA-1: {script:?}");
    }
    let info = String::from_utf8_lossy(&info);
    let field = |name: &str| {
        let mut lines = info.lines().filter_map(|line| line.split_once(':'));
        lines.find(|(field, _)| *field == name).map(|(_, value)| value.trim())
    };
    let number = |name| field(name).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    let run = field("run_id").and_then(|run| run.get(..16)).unwrap_or_default();
    let memory_max = number("maxmemory");
    Ok(ServerInfo {
        endpoint: address.endpoint(),
        place: "1/1".to_owned(),
        boot_id: u64::from_str_radix(run, 16).unwrap_or(0),
        store: "redis".to_owned(),
        partitions: 1,
        threads: 1,
        memory_free_bytes: memory_max.saturating_sub(number("used_memory")),
        memory_total_bytes: memory_max,
        host: format!("redis at {} (its maxmemory)", address.endpoint()),
        keys: keys.unsigned_abs(),
        version: field("redis_version").unwrap_or("unknown").to_owned(),
    })
}

const STRANGE: &str = "it does not answer as Redis does; is another service there?";

/// Sends a command and waits for its reply.
async fn ask(stream: &mut Counted, words: &[&str]) -> anyhow::Result<Reply> {
    let mut bytes = Vec::new();
    command(&mut bytes, &words.iter().map(|word| word.as_bytes()).collect::<Vec<_>>());
    stream.write_all(&bytes).await?;
    let mut incoming = BytesMut::new();
    loop {
        match protocol::reply(&incoming) {
            Ok(Some(Reply::Error(text))) if text.starts_with("NOAUTH") => {
                bail!("it asks for a password: write redis://:password@host:port")
            }
            Ok(Some(Reply::Error(text))) => bail!("it answered {}: {text}", words[0]),
            Ok(Some(reply)) => return Ok(reply),
            Ok(None) if incoming.len() < ANSWER_BYTES_MAX => (),
            Ok(None) | Err(_) => bail!("{STRANGE}"),
        }
        if stream.read_buf(&mut incoming).await? == 0 {
            bail!("{STRANGE}");
        }
    }
}
