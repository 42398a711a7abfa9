//! A TCP proxy that spoils what passes through it.
//!
//! Each connection has a task and two directions; each direction draws from its own random numbers,
//! so that the choices depend on the seed, the number of the connection and the frames alone.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::frames::next_frame;
use crate::log::EventLog;
use crate::network::Network;
use crate::plan::{Fault, Injected, Plan};
use crate::random::Random;

/// Bytes of a frame that come one by one; the rest follows at once.
const SINGLE_BYTES_MAX: usize = 64;

/// A proxy in front of one server. Dropping it ends it and cuts its connections.
#[derive(Debug)]
pub(crate) struct Proxy {
    /// Where clients connect to.
    pub(crate) address: String,
    upstream: Arc<Mutex<String>>,
    _stop: DropGuard,
}

/// What all connections of a proxy share.
#[derive(Debug)]
struct Shared<N> {
    network: N,
    plan: Plan,
    upstream: Arc<Mutex<String>>,
    injected: Arc<Injected>,
    log: EventLog,
}

impl Proxy {
    /// Starts a proxy at `listener` for the server at `upstream`.
    pub(crate) fn start<N: Network>(
        network: N,
        listener: N::Listener,
        upstream: &str,
        plan: Plan,
        injected: Arc<Injected>,
        log: EventLog,
    ) -> Self {
        let address = N::address(&listener);
        let upstream = Arc::new(Mutex::new(upstream.to_owned()));
        let stop = CancellationToken::new();
        let shared = Shared { network, plan, upstream: Arc::clone(&upstream), injected, log };
        let token = stop.clone();
        N::spawn(async move {
            token.run_until_cancelled(accept(listener, shared, token.clone())).await;
        });
        Self { address, upstream, _stop: stop.drop_guard() }
    }

    /// A proxy on a port that the system chooses.
    ///
    /// # Panics
    ///
    /// When there is no free port.
    pub(crate) async fn on_a_free_port(
        upstream: &str,
        plan: Plan,
        injected: Arc<Injected>,
    ) -> Self {
        let network = crate::network::System;
        let listener = network.bind("127.0.0.1:0").await.expect("a free port");
        Self::start(network, listener, upstream, plan, injected, EventLog::default())
    }

    /// Leads new connections to another server.
    ///
    /// # Panics
    ///
    /// When a task that held the address has panicked.
    pub(crate) fn lead_to(&self, upstream: &str) {
        upstream.clone_into(&mut self.upstream.lock().expect("no holder of the address panicked"));
    }
}

async fn accept<N: Network>(listener: N::Listener, shared: Shared<N>, stop: CancellationToken) {
    let shared = Arc::new(shared);
    let mut number = 0;
    loop {
        let Ok(client) = N::accept(&listener).await else { return };
        number += 1;
        let (shared, stop) = (Arc::clone(&shared), stop.clone());
        N::spawn(async move {
            stop.run_until_cancelled(serve(&shared, client, number)).await;
        });
    }
}

/// Why a direction has ended.
enum End {
    /// A side has left, or the connection was cut.
    Cut,
    /// The server's side goes, the client's stays.
    HalfOpen,
    /// The client's side goes, and this frame still reaches the server.
    Late(Bytes, Duration),
}

async fn serve<N: Network>(shared: &Shared<N>, client: N::Stream, number: u64) {
    let upstream = shared.upstream.lock().expect("no holder of the address panicked").clone();
    // A simulated network does not ask again for a connection whose first packet was lost.
    let connecting = timeout(shared.plan.silence, shared.network.connect(&upstream));
    let Ok(Ok(server)) = connecting.await else {
        shared.log.add(|| format!("connection {number} finds no server"));
        return;
    };
    let (mut client_read, mut client_write) = split(client);
    let (mut server_read, mut server_write) = split(server);
    let end = {
        let up = Direction::new(shared, number, "up");
        let down = Direction::new(shared, number, "down");
        tokio::select! {
            biased;
            end = up.pump(&mut client_read, &mut server_write) => end,
            end = down.pump(&mut server_read, &mut client_write) => end,
        }
    };
    match end {
        End::Cut => {}
        End::HalfOpen => {
            drop((server_read, server_write));
            sleep(shared.plan.silence).await;
        }
        End::Late(frame, delay) => {
            drop((client_read, client_write));
            sleep(delay).await;
            deliver_late(frame, server_read, server_write, shared.plan.silence).await;
        }
    }
    shared.log.add(|| format!("connection {number} ends"));
}

/// Sends a frame, and takes no notice of what is answered.
async fn deliver_late<S: AsyncRead + AsyncWrite>(
    frame: Bytes,
    mut read: ReadHalf<S>,
    mut write: WriteHalf<S>,
    silence: Duration,
) {
    if write.write_all(&frame).await.is_err() {
        return;
    }
    // The server may have left; then there is nothing to wait for.
    let _ = timeout(silence, tokio::io::copy(&mut read, &mut tokio::io::sink())).await;
}

/// One direction of a connection.
struct Direction<'a, N> {
    shared: &'a Shared<N>,
    number: u64,
    name: &'static str,
    random: Random,
    /// When a connection that lost something is cut for good.
    cut_at: Option<Instant>,
}

impl<'a, N: Network> Direction<'a, N> {
    fn new(shared: &'a Shared<N>, number: u64, name: &'static str) -> Self {
        let stream = 2 * number + u64::from(name == "up");
        let random = Random::new(shared.plan.seed, stream);
        Self { shared, number, name, random, cut_at: None }
    }

    async fn pump(
        mut self,
        read: &mut (impl AsyncRead + Unpin),
        write: &mut (impl AsyncWrite + Unpin),
    ) -> End {
        let mut received = BytesMut::new();
        loop {
            while let Some(frame) = next_frame(&mut received) {
                let fault = self.choose(frame.kind);
                match self.pass(frame.bytes, fault, read, write).await {
                    Ok(None) => {}
                    Ok(Some(end)) => return end,
                    Err(_) => return End::Cut,
                }
            }
            let reading = read.read_buf(&mut received);
            let got = match self.cut_at {
                Some(at) => timeout_at(at, reading).await.unwrap_or(Ok(0)),
                None => reading.await,
            };
            if !matches!(got, Ok(1..)) {
                return End::Cut;
            }
        }
    }

    fn choose(&mut self, kind: u8) -> Option<Fault> {
        let Shared { plan, injected, log, .. } = self.shared;
        let fault = plan.choose(kind, &mut self.random).filter(|_| !injected.is_paused());
        if let Some(fault) = fault {
            injected.add(fault);
        }
        let (number, name) = (self.number, self.name);
        log.add(|| format!("connection {number} {name} kind {kind} {fault:?}"));
        fault
    }

    /// Passes a frame on, in its way; says so when that was the end.
    async fn pass(
        &mut self,
        frame: Bytes,
        fault: Option<Fault>,
        read: &mut (impl AsyncRead + Unpin),
        write: &mut (impl AsyncWrite + Unpin),
    ) -> std::io::Result<Option<End>> {
        let plan = &self.shared.plan;
        let delay_us_max = plan.delay_max.as_micros() as u64;
        match fault {
            None => write.write_all(&frame).await?,
            Some(Fault::Delay) => {
                sleep(Duration::from_micros(self.random.below(delay_us_max + 1))).await;
                write.write_all(&frame).await?;
            }
            Some(Fault::ByteWise) => {
                let (single, rest) = frame.split_at(frame.len().min(SINGLE_BYTES_MAX));
                for byte in single {
                    write.write_all(&[*byte]).await?;
                    write.flush().await?;
                    tokio::task::yield_now().await;
                }
                write.write_all(rest).await?;
            }
            Some(Fault::DuplicateRequest) => {
                write.write_all(&frame).await?;
                write.write_all(&frame).await?;
            }
            Some(Fault::Cut) => {
                let whole = self.random.below(frame.len() as u64 + 1) as usize;
                write.write_all(&frame[..whole]).await?;
                write.flush().await?;
                return Ok(Some(End::Cut));
            }
            Some(Fault::DropReply) => return Ok(Some(End::Cut)),
            Some(Fault::SwallowReply) => {
                self.cut_at.get_or_insert_with(|| Instant::now() + plan.silence);
            }
            Some(Fault::OneWayCut) => {
                let mut sink = tokio::io::sink();
                let lost = tokio::io::copy(read, &mut sink);
                let _ = timeout(plan.silence, lost).await;
                return Ok(Some(End::Cut));
            }
            Some(Fault::HalfOpen) => return Ok(Some(End::HalfOpen)),
            Some(Fault::LateRequest) => {
                let delay = Duration::from_micros(self.random.below(delay_us_max + 1));
                return Ok(Some(End::Late(frame, delay)));
            }
            Some(Fault::Kill | Fault::Restart | Fault::Stop | Fault::Hold | Fault::Expire) => {
                unreachable!("a proxy's plan holds what a proxy does")
            }
        }
        write.flush().await?;
        Ok(None)
    }
}
