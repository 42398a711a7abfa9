//! What goes wrong, how often, and how often it has.

use std::fmt;
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::frames::{BATCH_REPLY, BATCH_REQUEST};
use crate::random::Random;

/// A class of faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Fault {
    /// A frame and all behind it come late.
    Delay,
    /// The connection is cut, in the middle of a frame.
    Cut,
    /// One direction goes silent while the other works on.
    OneWayCut,
    /// The server's side is closed, and the client is not told.
    HalfOpen,
    /// A frame arrives byte by byte.
    ByteWise,
    /// A reply is lost with its connection.
    DropReply,
    /// A reply is lost, and the connection works on.
    SwallowReply,
    /// A request arrives twice.
    DuplicateRequest,
    /// The client loses its connection, and a request on it still arrives, later.
    LateRequest,
    /// A server is killed and comes back with nothing.
    Kill,
    /// A server is told to end, and comes back with nothing.
    Restart,
    /// A server stands still for a while.
    Stop,
    /// Nothing passes between two hosts for a while, and then everything does.
    Hold,
    /// All sessions of a server end.
    Expire,
}

impl Fault {
    /// All classes.
    pub(crate) const ALL: [Self; 14] = [
        Self::Delay,
        Self::Cut,
        Self::OneWayCut,
        Self::HalfOpen,
        Self::ByteWise,
        Self::DropReply,
        Self::SwallowReply,
        Self::DuplicateRequest,
        Self::LateRequest,
        Self::Kill,
        Self::Restart,
        Self::Stop,
        Self::Hold,
        Self::Expire,
    ];

    /// The classes that a proxy makes.
    pub(crate) const PROXIED: [Self; 9] = [
        Self::Delay,
        Self::Cut,
        Self::OneWayCut,
        Self::HalfOpen,
        Self::ByteWise,
        Self::DropReply,
        Self::SwallowReply,
        Self::DuplicateRequest,
        Self::LateRequest,
    ];

    fn applies_to(self, kind: u8) -> bool {
        match self {
            Self::DropReply | Self::SwallowReply => kind == BATCH_REPLY,
            Self::DuplicateRequest | Self::LateRequest => kind == BATCH_REQUEST,
            Self::Kill | Self::Restart | Self::Stop | Self::Hold | Self::Expire => false,
            _ => true,
        }
    }

    /// Its name in a table.
    fn name(self) -> &'static str {
        match self {
            Self::Delay => "delayed frame",
            Self::Cut => "cut in a frame",
            Self::OneWayCut => "one-way cut",
            Self::HalfOpen => "half-open connection",
            Self::ByteWise => "byte-wise delivery",
            Self::DropReply => "reply lost in a cut",
            Self::SwallowReply => "reply lost, no cut",
            Self::DuplicateRequest => "duplicated request",
            Self::LateRequest => "late request",
            Self::Kill => "kill -9 and restart",
            Self::Restart => "end and restart",
            Self::Stop => "SIGSTOP and SIGCONT",
            Self::Hold => "network held",
            Self::Expire => "expired sessions",
        }
    }
}

/// How a proxy spoils what passes.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Where its choices come from.
    pub(crate) seed: u64,
    /// One frame in so many is hit, of those to which a class with a weight applies.
    pub(crate) one_in: u64,
    /// The classes, by weight.
    pub(crate) weights: Vec<(Fault, u32)>,
    /// Longest delay of [`Fault::Delay`] and [`Fault::LateRequest`].
    pub(crate) delay_max: Duration,
    /// How long a connection stays silent before it is cut for good. A client whose timeout is
    /// shorter leaves it before.
    pub(crate) silence: Duration,
}

impl Plan {
    /// Every class that a proxy makes, equally often.
    pub(crate) fn every_class(seed: u64, one_in: u64) -> Self {
        Self::of(&Fault::PROXIED, seed, one_in)
    }

    /// These classes, equally often.
    pub(crate) fn of(faults: &[Fault], seed: u64, one_in: u64) -> Self {
        Self {
            seed,
            one_in,
            weights: faults.iter().map(|fault| (*fault, 1)).collect(),
            delay_max: Duration::from_millis(30),
            silence: Duration::from_millis(300),
        }
    }

    /// Nothing goes wrong.
    pub(crate) fn harmless() -> Self {
        Self::of(&[], 0, 1)
    }

    /// What happens to a frame of this kind.
    pub(crate) fn choose(&self, kind: u8, random: &mut Random) -> Option<Fault> {
        let (hit, choice) = (random.below(self.one_in) == 0, random.next());
        let applies: Vec<(Fault, u32)> =
            self.weights.iter().copied().filter(|(fault, _)| fault.applies_to(kind)).collect();
        (hit && !applies.is_empty()).then(|| Random::new(choice, 0).weighted(&applies))
    }
}

/// Names a file that the counts of all tests are appended to.
const COUNTS_VARIABLE: &str = "KVS_FAULTS_COUNTS";

/// Where faults are injected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Scene {
    /// Between sockets of the system, and to processes.
    #[default]
    System,
    /// In a simulation.
    Simulation,
    /// Elsewhere: this is a sum of others' counts.
    Sum,
}

/// How many faults were injected, by class; shared by all who inject.
#[derive(Debug, Default)]
pub(crate) struct Injected {
    counts: [AtomicU64; Fault::ALL.len()],
    paused: AtomicBool,
    scene: Scene,
}

/// Leaves its counts in the file for the table, if one is wanted.
impl Drop for Injected {
    fn drop(&mut self) {
        let Some(path) = std::env::var_os(COUNTS_VARIABLE) else { return };
        if self.scene == Scene::Sum || self.total() == 0 {
            return;
        }
        let line =
            |fault: Fault| format!("{:?}\t{}\t{}\n", self.scene, fault.name(), self.of(fault));
        let lines: String = Fault::ALL.into_iter().map(line).collect();
        let file = std::fs::OpenOptions::new().append(true).create(true).open(path);
        let written = file.and_then(|mut file| file.write_all(lines.as_bytes()));
        written.expect("the file for the counts can be written");
    }
}

impl Injected {
    /// No faults yet, in this place.
    pub(crate) fn at(scene: Scene) -> Self {
        Self { counts: Default::default(), paused: AtomicBool::default(), scene }
    }

    /// Counts one more.
    pub(crate) fn add(&self, fault: Fault) {
        self.counts[fault as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// How many of one class.
    pub(crate) fn of(&self, fault: Fault) -> u64 {
        self.counts[fault as usize].load(Ordering::Relaxed)
    }

    /// How many of all classes.
    pub(crate) fn total(&self) -> u64 {
        Fault::ALL.iter().map(|fault| self.of(*fault)).sum()
    }

    /// Adds another's counts.
    pub(crate) fn add_all(&self, other: &Self) {
        for (sum, more) in self.counts.iter().zip(&other.counts) {
            sum.fetch_add(more.load(Ordering::Relaxed), Ordering::Relaxed);
        }
    }

    /// Ends the faults, or lets them go on. What is silent already is cut in its time.
    pub(crate) fn pause(&self, paused: bool) {
        self.paused.store(paused, Ordering::Relaxed);
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.paused.load(Ordering::Relaxed)
    }
}

impl fmt::Display for Injected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} faults:", self.total())?;
        for fault in Fault::ALL.into_iter().filter(|fault| self.of(*fault) > 0) {
            write!(f, " {fault:?} {}", self.of(fault))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_comes_and_only_where_it_applies() {
        let plan = Plan::every_class(1, 2);
        let mut random = Random::new(plan.seed, 0);
        let mut seen = std::collections::HashSet::new();
        for _ in 0..2000 {
            for kind in [BATCH_REQUEST, 2, BATCH_REPLY, 5] {
                if let Some(fault) = plan.choose(kind, &mut random) {
                    assert!(fault.applies_to(kind), "{fault:?} of kind {kind}");
                    seen.insert(fault);
                }
            }
        }
        assert_eq!(seen.len(), Fault::PROXIED.len());
        assert_eq!(Plan::harmless().choose(BATCH_REQUEST, &mut random), None);
    }

    #[test]
    fn classes_stand_at_their_numbers() {
        for (index, fault) in Fault::ALL.into_iter().enumerate() {
            assert_eq!(fault as usize, index);
        }
        let injected = Injected::at(Scene::Sum);
        injected.add(Fault::Kill);
        injected.add(Fault::Kill);
        assert_eq!((injected.of(Fault::Kill), injected.total()), (2, 2));
        assert_eq!(injected.to_string(), "2 faults: Kill 2");
    }
}
