//! Slots to groups: which server and which of its partitions a key goes to.

use model::slot::{SLOTS, slot_of};
use model::slots::{Partitions, Shard};
use proto::batch::Placement;
use proto::control::Hello;

use crate::config::Endpoint;
use crate::error::Error;

/// A server's partition; batches hold one run of operations for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// The server, from 0, in the order of the hosts.
    pub(crate) server: usize,
    /// The server's partition.
    pub(crate) partition: u32,
    /// Whether the server owns the keys. Where nobody does, as in the middle of a change, they are
    /// sent nowhere: the first server stands for nobody.
    pub(crate) is_owned: bool,
}

// There are at most as many groups as slots.
const _: () = assert!(SLOTS <= 1 << 16);

/// The map that one client routes by.
#[derive(Debug)]
pub(crate) struct Router {
    /// Position in `targets` for each slot: 32 KiB, so that it stays in a core's own cache.
    groups: Box<[u16]>,
    targets: Vec<Target>,
    partitions: Vec<Partitions>,
    /// By server: the epoch of the slots that it told.
    epochs: Vec<u32>,
}

impl Router {
    /// The map that these servers make together.
    ///
    /// # Errors
    ///
    /// [`Error::Placement`] when their shards contradict each other or the order of the hosts; it
    /// says which order would be right.
    pub(crate) fn new(hosts: &[Endpoint], hellos: &[&Hello]) -> Result<Self, Error> {
        check_shards(hosts, hellos)?;
        let partitions: Vec<_> =
            hellos.iter().map(|hello| Partitions::new(hello.partitions)).collect();
        let owners = owners(hellos);
        let mut targets = Vec::new();
        let mut groups = vec![0; SLOTS as usize].into_boxed_slice();
        let nobody = (None, 0, &partitions[0]);
        let servers = partitions.iter().enumerate();
        for (owner, server, partitions) in
            servers.map(|(server, partitions)| (Some(server), server, partitions)).chain([nobody])
        {
            let mut group_of = vec![None; partitions.count() as usize];
            for slot in (0..SLOTS).filter(|slot| owners[*slot as usize] == owner) {
                group_of[partitions.of(slot) as usize] = Some(0);
            }
            for (partition, group) in (0..).zip(&mut group_of).filter(|(_, group)| group.is_some())
            {
                *group = Some(targets.len() as u16);
                targets.push(Target { server, partition, is_owned: owner.is_some() });
            }
            for slot in (0..SLOTS).filter(|slot| owners[*slot as usize] == owner) {
                let group = group_of[partitions.of(slot) as usize];
                groups[slot as usize] = group.expect("it was given a number");
            }
        }
        let epochs = hellos.iter().map(|hello| hello.epoch).collect();
        Ok(Self { groups, targets, partitions, epochs })
    }

    /// The group of a key: a position in [`targets`](Self::targets). Always in line: batches ask for
    /// each key.
    #[inline(always)]
    pub(crate) fn group_of(&self, key: &[u8]) -> u32 {
        u32::from(self.groups[slot_of(key) as usize])
    }

    /// All groups, ascending by server and partition; those of nobody last.
    pub(crate) fn targets(&self) -> &[Target] {
        &self.targets
    }

    /// The epoch of a server's slots.
    pub(crate) fn epoch(&self, server: usize) -> u32 {
        self.epochs[server]
    }

    /// The placement of keys at one server, to decode its batches with.
    pub(crate) fn placement(&self, server: usize) -> ServerPlacement {
        ServerPlacement(self.partitions[server])
    }
}

/// The server that owns each slot: of those that claim it, the one with the newest epoch.
fn owners(hellos: &[&Hello]) -> Vec<Option<usize>> {
    let mut owners = vec![None; SLOTS as usize];
    let mut epochs = vec![0; SLOTS as usize];
    for (server, hello) in hellos.iter().enumerate() {
        for slot in hello.slots.iter().flat_map(|&(first, last)| first..=last).map(usize::from) {
            if hello.epoch > epochs[slot] {
                (owners[slot], epochs[slot]) = (Some(server), hello.epoch);
            }
        }
    }
    owners
}

/// One server's view of keys.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ServerPlacement(Partitions);

impl Placement for ServerPlacement {
    fn place(&self, key: &[u8]) -> (u32, bool) {
        (self.0.of(slot_of(key)), true)
    }

    fn hash(&self, _key: &[u8]) -> u64 {
        0
    }
}

fn check_shards(hosts: &[Endpoint], hellos: &[&Hello]) -> Result<(), Error> {
    let count = hosts.len() as u32;
    let places: Vec<Shard> = hellos.iter().map(|hello| hello.shard).collect();
    let list = |order: &[usize]| {
        let names: Vec<String> = order.iter().map(|&index| hosts[index].to_string()).collect();
        names.join(",")
    };
    for (host, place) in hosts.iter().zip(&places) {
        if place.count() != count {
            return Err(Error::Placement(format!(
                "{host} is shard {place}, but {count} hosts are given; name all {} servers in \
                 -hosts, or start the servers with -shard INDEX/{count}",
                place.count()
            )));
        }
    }
    for (index, place) in places.iter().enumerate() {
        if let Some(other) = places[..index].iter().position(|earlier| earlier == place) {
            return Err(Error::Placement(format!(
                "{} and {} both say that they are shard {place}; start each server with a -shard \
                 of its own",
                hosts[other], hosts[index]
            )));
        }
    }
    let mut order: Vec<usize> = (0..hosts.len()).collect();
    order.sort_by_key(|&index| places[index].index());
    if !order.is_sorted() {
        return Err(Error::Placement(format!(
            "the hosts are not in the order of their shards; the right order is -hosts {}",
            list(&order)
        )));
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn hello(shard: &str, partitions: u32) -> Hello {
        Hello::of(shard.parse().unwrap(), 1, partitions)
    }

    fn router(places: &[&str]) -> Result<Router, String> {
        let hosts: Vec<Endpoint> =
            (0..places.len()).map(|index| format!("h{index}:1").parse().unwrap()).collect();
        let hellos: Vec<Hello> = places.iter().map(|place| hello(place, 4)).collect();
        let hellos: Vec<&Hello> = hellos.iter().collect();
        Router::new(&hosts, &hellos).map_err(|error| error.to_string())
    }

    #[test]
    fn keys_go_where_the_servers_expect_them() {
        let router = router(&["1/3", "2/3", "3/3"]).unwrap();
        assert_eq!(router.targets().len(), 12);
        for number in 0..1000 {
            let key = number.to_string();
            let target = router.targets()[router.group_of(key.as_bytes()) as usize];
            let placement = router.placement(target.server);
            assert_eq!(placement.place(key.as_bytes()), (target.partition, true));
        }
    }

    #[test]
    fn the_newest_epoch_owns_a_slot() {
        let (mut first, mut second) = (hello("1/2", 4), hello("2/2", 4));
        let moved = slot_of(b"k");
        let all = (0, SLOTS as u16 - 1);
        first.slots = vec![all];
        (second.slots, second.epoch) = (vec![(moved as u16, moved as u16)], 2);
        let hosts = ["h0:1", "h1:1"].map(|host| host.parse().unwrap());
        let router = Router::new(&hosts, &[&first, &second]).unwrap();
        let target = router.targets()[router.group_of(b"k") as usize];
        assert_eq!(target, Target { server: 1, partition: moved % 4, is_owned: true });
        assert_eq!(router.targets().len(), 5);
        assert_eq!((router.epoch(0), router.epoch(1)), (1, 2));
    }

    #[test]
    fn slots_that_nobody_owns_have_groups_of_their_own() {
        let (mut first, second) = (hello("1/2", 4), hello("2/2", 4));
        let (lost, (start, last)) = (slot_of(b"k"), first.slots[0]);
        first.slots = vec![(start, lost as u16 - 1), (lost as u16 + 1, last)];
        let hosts = ["h0:1", "h1:1"].map(|host| host.parse().unwrap());
        let router = Router::new(&hosts, &[&first, &second]).unwrap();
        let target = router.targets()[router.group_of(b"k") as usize];
        assert_eq!(target, Target { server: 0, partition: lost % 4, is_owned: false });
        assert_eq!(router.targets().len(), 9);
        assert!(router.targets()[..8].iter().all(|target| target.is_owned));
    }

    #[test]
    fn contradicting_places_are_named() {
        assert!(router(&["2/2", "1/2"]).unwrap_err().contains("-hosts h1:1,h0:1"));
        assert!(router(&["1/2", "1/2"]).unwrap_err().contains("both say that they are shard 1/2"));
        assert!(router(&["1/2"]).unwrap_err().contains("1 hosts are given"));
        assert!(router(&["1/1", "1/1"]).unwrap_err().contains("2 hosts are given"));
    }
}
