//! Slots to groups: which server and which of its partitions a key goes to.

use proto::batch::Placement;
use proto::control::Hello;
use proto::shard_map::{PartitionMap, Place, SLOTS, shard_of, slot_of};

use crate::config::Endpoint;
use crate::error::Error;

/// A server's partition; batches hold one run of operations for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// The server, from 0, in the order of the hosts.
    pub(crate) server: usize,
    /// The server's partition.
    pub(crate) partition: u32,
}

// There are at most as many groups as slots.
const _: () = assert!(SLOTS <= 1 << 16);

/// The map that one client routes by.
#[derive(Debug)]
pub(crate) struct Router {
    /// Position in `targets` for each slot: 32 KiB, so that it stays in a core's own cache.
    groups: Box<[u16]>,
    targets: Vec<Target>,
    partition_maps: Vec<PartitionMap>,
}

impl Router {
    /// The map that these servers make together.
    ///
    /// # Errors
    ///
    /// [`Error::Placement`] when their places contradict each other or the order of the hosts; it
    /// says which order would be right.
    pub(crate) fn new(hosts: &[Endpoint], hellos: &[&Hello]) -> Result<Self, Error> {
        check_places(hosts, hellos)?;
        let partition_maps: Vec<PartitionMap> =
            hellos.iter().map(|hello| PartitionMap::new(hello.place, hello.partitions)).collect();
        let mut targets = Vec::new();
        let mut groups = Vec::with_capacity(SLOTS as usize);
        for slot in 0..SLOTS {
            let server = shard_of(slot, hosts.len() as u32) as usize;
            let partition = partition_maps[server].partition_of(slot).expect("it owns the slot");
            let target = Target { server, partition };
            if targets.last() != Some(&target) {
                targets.push(target);
            }
            groups.push((targets.len() - 1) as u16);
        }
        Ok(Self { groups: groups.into(), targets, partition_maps })
    }

    /// The group of a key: a position in [`targets`](Self::targets).
    #[inline]
    pub(crate) fn group_of(&self, key: &[u8]) -> u32 {
        u32::from(self.groups[slot_of(key) as usize])
    }

    /// All groups, ascending by server and partition.
    pub(crate) fn targets(&self) -> &[Target] {
        &self.targets
    }

    /// The placement of keys at one server, to decode its batches with.
    pub(crate) fn placement(&self, server: usize) -> ServerPlacement {
        ServerPlacement(self.partition_maps[server])
    }
}

/// One server's view of keys.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ServerPlacement(PartitionMap);

impl Placement for ServerPlacement {
    fn partition_of(&self, key: &[u8]) -> Option<u32> {
        self.0.partition_of(slot_of(key))
    }

    fn hash(&self, _key: &[u8]) -> u64 {
        0
    }
}

fn check_places(hosts: &[Endpoint], hellos: &[&Hello]) -> Result<(), Error> {
    let count = hosts.len() as u32;
    let places: Vec<Place> = hellos.iter().map(|hello| hello.place).collect();
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

    pub(crate) fn hello(place: &str, partitions: u32) -> Hello {
        Hello {
            boot_id: 1,
            session: None,
            session_lease_ms: 1000,
            place: place.parse().unwrap(),
            epoch: 1,
            partitions,
            store: String::new(),
            keys: 0,
            memory_free_bytes: 0,
            memory_total_bytes: 0,
            host: String::new(),
            threads: 1,
            version: String::new(),
        }
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
            assert_eq!(placement.partition_of(key.as_bytes()), Some(target.partition));
        }
    }

    #[test]
    fn contradicting_places_are_named() {
        assert!(router(&["2/2", "1/2"]).unwrap_err().contains("-hosts h1:1,h0:1"));
        assert!(router(&["1/2", "1/2"]).unwrap_err().contains("both say that they are shard 1/2"));
        assert!(router(&["1/2"]).unwrap_err().contains("1 hosts are given"));
        assert!(router(&["1/1", "1/1"]).unwrap_err().contains("2 hosts are given"));
    }
}
