//! Client, network, proxies and servers in one thread under virtual time: one seed, one course of
//! events.
//!
//! Streams are `turmoil`'s, under the same codec as ever. What is drawn at random comes from the
//! seed: latencies, the proxies' faults, the clients' choices, the ids of data and sessions, and when
//! servers are killed or cut off. The clients' calls have no timeouts here, because the RPC layer
//! measures those by the real clock; a connection that falls silent is cut in the end, and that
//! drives the retries.
//!
//! Seeds differ in temper. Only mild ones have DELETEs: where some are unknown, a read that misses
//! has too many explanations.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use checker::history::Kind;
use kvs_client::{Client, Config};
use kvs_server::environment::SeededEnvironment;
use kvs_server::order::memory::LEASE;
use tokio_util::sync::CancellationToken;

use crate::history::History;
use crate::log::{EventLog, simulated_clock};
use crate::network::{Network, Simulated};
use crate::plan::{Fault, Injected, Plan, Scene};
use crate::proxy::Proxy;
use crate::random::Random;
use crate::server::{serve, service};
use crate::workload::Load;

/// Where simulated servers and proxies listen.
const LISTEN: &str = "0.0.0.0:80";
/// Longest that a simulation may take, in virtual time: far more than any does.
const DURATION_MAX: Duration = Duration::from_secs(600);

/// A simulation's end.
pub(crate) struct Simulation {
    /// Everything that happened.
    pub(crate) log: Vec<String>,
    /// What the clients saw.
    pub(crate) history: History,
    /// What went wrong.
    pub(crate) injected: Arc<Injected>,
}

/// What a seed may do beside what the proxies do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Temper {
    /// Links stand still now and then.
    Mild,
    /// Servers are killed, too.
    Rough,
    /// Sessions end, too, and clients give up soon.
    Harsh,
}

impl Temper {
    fn faults(self) -> Vec<(Fault, u32)> {
        match self {
            Self::Mild => vec![(Fault::Hold, 1)],
            Self::Rough => vec![(Fault::Hold, 2), (Fault::Kill, 1)],
            Self::Harsh => vec![(Fault::Hold, 2), (Fault::Kill, 1), (Fault::Expire, 2)],
        }
    }

    fn mix(self) -> Vec<(Kind, u32)> {
        let mut mix = Load::mixed(0, 0).mix;
        mix.retain(|(kind, _)| *kind != Kind::Delete || self == Self::Mild);
        mix
    }
}

/// What all hosts share.
#[derive(Clone)]
struct World {
    seed: u64,
    servers: u32,
    temper: Temper,
    retry: Duration,
    plan: Plan,
    store: &'static str,
    injected: Arc<Injected>,
    log: EventLog,
    /// Lives of all servers so far, so that each has its own randomness.
    lives: Arc<AtomicU64>,
    /// The clocks of the servers' present lives.
    environments: Arc<Mutex<HashMap<u32, Arc<SeededEnvironment>>>>,
    history: Arc<Mutex<Option<History>>>,
}

/// The course of events of this seed.
pub(crate) fn simulate(seed: u64) -> Simulation {
    let mut random = Random::new(seed, 0);
    let ms = Duration::from_millis;
    let plan = Plan {
        delay_max: ms(random.within(&(1..=100))),
        silence: ms(random.within(&(20..=400))),
        ..Plan::every_class(seed, random.within(&(5..=60)))
    };
    let temper = [Temper::Mild, Temper::Rough, Temper::Harsh][random.below(3) as usize];
    let world = World {
        seed,
        servers: 1 + random.below(2) as u32,
        temper,
        retry: if temper == Temper::Harsh { ms(random.below(300)) } else { ms(60_000) },
        plan,
        store: ["partitioned", "partitioned", "scc", "mutex"][random.below(4) as usize],
        injected: Arc::new(Injected::at(Scene::Simulation)),
        log: EventLog::new(simulated_clock),
        lives: Arc::default(),
        environments: Arc::default(),
        history: Arc::default(),
    };
    let mut sim = turmoil::Builder::new()
        .rng_seed(seed)
        .simulation_duration(DURATION_MAX)
        .min_message_latency(ms(1))
        .max_message_latency(ms(random.within(&(2..=40))))
        .tcp_capacity(1 << 16)
        .build();
    for index in 1..=world.servers {
        let host = world.clone();
        sim.host(format!("server-{index}"), move || host.clone().server(index));
        let host = world.clone();
        sim.host(format!("proxy-{index}"), move || host.clone().proxy(index));
    }
    sim.client("client", world.clone().client());
    drive(&mut sim, &world, &mut random);
    let history = world.history.lock().expect("the simulation has ended").take();
    Simulation {
        log: world.log.lines(),
        history: history.expect("the client has ended"),
        injected: world.injected,
    }
}

/// Lets time pass, and hits a server now and then, until the client has ended.
fn drive(sim: &mut turmoil::Sim<'_>, world: &World, random: &mut Random) {
    let step = |sim: &mut turmoil::Sim<'_>| {
        sim.step().unwrap_or_else(|error| {
            let lines = world.log.lines();
            let last = lines[lines.len().saturating_sub(20)..].join("\n");
            panic!("seed {}: {error}; its log ends so:\n{last}", world.seed)
        })
    };
    loop {
        for _ in 0..random.within(&(50..=500)) {
            if step(sim) {
                return;
            }
        }
        if world.injected.is_paused() {
            continue;
        }
        let index = 1 + random.below(u64::from(world.servers));
        let (server, proxy) = (format!("server-{index}"), format!("proxy-{index}"));
        // Between the proxy and one of its sides.
        let side = random.weighted(&[(server.as_str(), 1), ("client", 1)]);
        let fault = random.weighted(&world.temper.faults());
        world.injected.add(fault);
        match fault {
            Fault::Kill => sim.crash(server.as_str()),
            Fault::Hold => sim.hold(side, proxy.as_str()),
            _ => world.end_sessions(index as u32),
        }
        let mut is_over = false;
        for _ in 0..random.within(&(1..=300)) {
            is_over |= step(sim);
        }
        match fault {
            Fault::Kill => sim.bounce(server.as_str()),
            Fault::Hold => sim.release(side, proxy.as_str()),
            _ => {}
        }
        if is_over {
            return;
        }
    }
}

impl World {
    fn end_sessions(&self, server: u32) {
        let environments = self.environments.lock().expect("no holder panicked");
        environments[&server].advance(LEASE + Duration::from_secs(1));
    }

    async fn server(self, index: u32) -> turmoil::Result {
        let life = self.lives.fetch_add(1, Ordering::Relaxed);
        self.log.add(|| format!("server {index} begins its life, the {life}th of all"));
        let seed = Random::new(self.seed, 1000 + life).next();
        let environment = Arc::new(SeededEnvironment::new(seed));
        let present = Arc::clone(&environment);
        self.environments.lock().expect("no holder panicked").insert(index, present);
        let place = format!("{index}/{}", self.servers);
        let service = service(&place, self.store, environment);
        let listener = Simulated.bind(LISTEN).await?;
        serve::<Simulated, _>(listener, service, CancellationToken::new()).await;
        Ok(())
    }

    async fn proxy(self, index: u32) -> turmoil::Result {
        let listener = Simulated.bind(LISTEN).await?;
        let upstream = format!("server-{index}:80");
        let plan = Plan { seed: self.plan.seed + u64::from(index), ..self.plan };
        let _proxy = Proxy::start(Simulated, listener, &upstream, plan, self.injected, self.log);
        std::future::pending().await
    }

    async fn connect(&self, to: &str) -> Client {
        let hosts: Vec<String> =
            (1..=self.servers).map(|index| format!("{to}-{index}:80")).collect();
        let mut config = Config::new(&hosts.join(",")).expect("addresses");
        config.connections = 2;
        config.timeout = Duration::from_secs(3600);
        config.retry = self.retry;
        config.connector = Arc::new(Simulated);
        crate::cluster::connect(config).await
    }

    async fn client(self) -> turmoil::Result {
        let load = |client| Load {
            mix: self.temper.mix(),
            workers: 2,
            batches: 15,
            depth: 1..=6,
            pause_max: Duration::from_millis(60),
            clock: simulated_clock,
            log: self.log.clone(),
            ..Load::mixed(self.seed, client)
        };
        let run = async |number| {
            let client = self.connect("proxy").await;
            load(number).run(&client).await
        };
        let mut history = History::default();
        let (one, two) = tokio::join!(run(0), run(1));
        history.add(one);
        history.add(two);
        self.injected.pause(true);
        let client = self.connect("server").await;
        history.add(load(0).read_all(&client).await);
        *self.history.lock().expect("nobody else holds it") = Some(history);
        Ok(())
    }
}
