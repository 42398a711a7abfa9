//! Redis, through the crate `redis`: a batch is a pipeline on a connection that workers share.
//!
//! GET, SET, DEL and INCRBY are Redis' own. CAS is a script that compares and sets, which Redis
//! runs as one step.

mod pipeline;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, anyhow};
use kvs_client::{Config, FailureClass, ServerInfo};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, ErrorKind, RedisConnectionInfo, RedisError};

use super::address::PeerAddress;
use super::peer::{Counted, Link, Peer, PeerFailure, WireBytes};
use pipeline::{RedisAnswers, RedisBatch, SCRIPT};

/// Sets KEYS\[1\] to ARGV\[3\] if it holds ARGV\[2\], or, when ARGV\[1\] is 0, if it is missing.
/// Answers 1, or what the key holds.
const COMPARE_AND_SWAP: &str = "local held = redis.call('GET', KEYS[1])\n\
    local match\n\
    if ARGV[1] == '0' then match = not held else match = held == ARGV[2] end\n\
    if match then redis.call('SET', KEYS[1], ARGV[3]) return 1 end\n\
    return held";

/// Pipelines that may wait for their turn on one connection.
const QUEUE_MAX: usize = 4096;

const STRANGE: &str = "it does not answer as Redis does; is another service there?";

/// A connection to Redis.
#[derive(Clone, Debug)]
pub(crate) struct RedisLink {
    connection: MultiplexedConnection,
    lost: Arc<AtomicBool>,
    endpoint: Arc<str>,
}

impl Link for RedisLink {
    type Batch = RedisBatch;
    type Answers = RedisAnswers;

    fn call(
        &self,
        batch: RedisBatch,
    ) -> impl Future<Output = Result<RedisAnswers, PeerFailure>> + Send + 'static {
        let mut link = self.clone();
        async move {
            let answers = match batch.send(&mut link.connection).await {
                Ok(values) => batch.answers(values),
                Err(error) => Err(error.to_string()),
            };
            answers.map_err(|reason| {
                link.lost.store(true, Ordering::Relaxed);
                let text = format!("redis at {}: the reply was lost: {reason}", link.endpoint);
                PeerFailure { class: FailureClass::Unknown, text }
            })
        }
    }

    fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Relaxed)
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
) -> anyhow::Result<Peer<RedisLink>> {
    let wire = Arc::new(WireBytes::default());
    let endpoint: Arc<str> = address.endpoint().into();
    let mut links = Vec::new();
    let mut server = None;
    for _ in 0..config.connections {
        let stream = Counted::connect(&address.host, address.port, &wire)
            .await
            .with_context(|| format!("cannot connect to redis at {endpoint}; is it running?"))?;
        let greeted = async {
            let mut connection = open(stream, address, config).await?;
            if server.is_none() {
                server = Some(describe(&mut connection, address).await?);
            }
            Ok(connection)
        };
        let greeted = match tokio::time::timeout(config.timeout, greeted).await {
            Ok(greeted) => greeted.map_err(|error| refusal(&error)),
            Err(_) => Err(anyhow!("it does not answer; is another service there?")),
        };
        let connection = greeted.with_context(|| format!("redis at {endpoint}"))?;
        links.push(RedisLink { connection, lost: Arc::default(), endpoint: Arc::clone(&endpoint) });
    }
    let server = server.expect("there is at least one connection");
    Ok(Peer::new(links, server, wire))
}

/// Gives the password, and has a task drive the connection.
async fn open(
    stream: Counted,
    address: &PeerAddress,
    config: &Config,
) -> Result<MultiplexedConnection, RedisError> {
    let mut info = RedisConnectionInfo::default().set_skip_set_lib_name();
    if let Some(password) = &address.password {
        info = info.set_password(password);
    }
    let config = AsyncConnectionConfig::new()
        .set_response_timeout(Some(config.timeout))
        .set_pipeline_buffer_size(QUEUE_MAX);
    let (connection, driver) =
        MultiplexedConnection::new_with_config(&info, stream, config).await?;
    tokio::spawn(driver);
    Ok(connection)
}

/// Asks the server who it is, and teaches it to compare and swap.
async fn describe(
    connection: &mut MultiplexedConnection,
    address: &PeerAddress,
) -> Result<ServerInfo, RedisError> {
    let info: String = redis::cmd("INFO").query_async(connection).await?;
    let keys: u64 = redis::cmd("DBSIZE").query_async(connection).await?;
    SCRIPT.load_async(connection).await?;
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
        data_id: u64::from_str_radix(run, 16).unwrap_or(0),
        store: "redis".to_owned(),
        partitions: 1,
        threads: 1,
        memory_free_bytes: memory_max.saturating_sub(number("used_memory")),
        memory_total_bytes: memory_max,
        host: format!("redis at {} (its maxmemory)", address.endpoint()),
        keys,
        version: field("redis_version").unwrap_or("unknown").to_owned(),
    })
}

/// Why a server is not driven, with the mend.
fn refusal(error: &RedisError) -> anyhow::Error {
    match (error.kind(), error.code()) {
        (_, Some("NOAUTH")) => {
            anyhow!("it asks for a password: write redis://:password@host:port")
        }
        (ErrorKind::AuthenticationFailed, _) => {
            anyhow!("it does not take this password: write redis://:password@host:port")
        }
        (ErrorKind::Parse | ErrorKind::Io | ErrorKind::UnexpectedReturnType, _) => {
            anyhow!("{STRANGE}")
        }
        _ => anyhow!("it answered: {error}"),
    }
}
