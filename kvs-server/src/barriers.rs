//! Barriers of runs: where the processes of one wait for each other.

use std::collections::HashSet;
use std::sync::Mutex;

use proto::control::ControlResponse;
use proto::limits::DETAIL_BYTES_MAX;

/// Most barriers at once; the oldest run's makes room.
const BARRIERS_MAX: usize = 256;
/// Most participants of a barrier.
const PARTICIPANTS_MAX: u32 = 65_536;

/// All barriers of a server.
#[derive(Debug, Default)]
pub struct Barriers(Mutex<Vec<Barrier>>);

#[derive(Debug)]
struct Barrier {
    run_id: u64,
    name: String,
    participants: u32,
    arrived: HashSet<u32>,
}

impl Barriers {
    /// Notes that a participant has come, and says how many have.
    pub fn arrive(
        &self,
        run_id: u64,
        name: String,
        participant: u32,
        participants: u32,
    ) -> ControlResponse {
        if participant >= participants || participants > PARTICIPANTS_MAX {
            return ControlResponse::Refused(format!(
                "participant {participant} of {participants}: the index counts from 0 and stays \
                 below the number of participants, at most {PARTICIPANTS_MAX}"
            ));
        }
        if name.len() > DETAIL_BYTES_MAX {
            return ControlResponse::Refused("the barrier's name is too long".to_owned());
        }
        let mut barriers = self.0.lock().expect("no holder of the barriers panicked");
        let found = barriers.iter().position(|known| known.run_id == run_id && known.name == name);
        let index = found.unwrap_or_else(|| {
            if barriers.len() >= BARRIERS_MAX {
                barriers.remove(0);
            }
            barriers.push(Barrier { run_id, name, participants, arrived: HashSet::new() });
            barriers.len() - 1
        });
        let barrier = &mut barriers[index];
        if barrier.participants != participants {
            return ControlResponse::Refused(format!(
                "this barrier of run {run_id:x} expects {} participants, not {participants}; give \
                 every client the same -client_count, and each run its own -run_id",
                barrier.participants
            ));
        }
        barrier.arrived.insert(participant);
        ControlResponse::Barrier { arrived: barrier.arrived.len() as u32 }
    }
}
