//! What a host tells about itself before a run.

use std::net::IpAddr;

use anyhow::{Context, bail};
use resources::{Interface, Machine};
use serde::{Deserialize, Serialize};

use super::registry;

/// A host, as it tells the launcher in a line of JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Facts {
    /// The data address.
    pub(crate) address: IpAddr,
    /// The interface that has it.
    pub(crate) interface: Interface,
    /// Interfaces whose link is faster, with an address of theirs.
    pub(crate) faster: Vec<(Interface, IpAddr)>,
    /// What earlier runs had left there, and was ended.
    pub(crate) ended: Vec<String>,
    /// The machine.
    pub(crate) machine: Machine,
}

/// Ends what earlier runs left, and prints the [`Facts`].
pub(super) async fn prepare(address: Option<String>) -> anyhow::Result<()> {
    super::enter_folder()?;
    let ended = registry::end_stale().await?;
    registry::clear_runs()?;
    let address = match address {
        Some(name) => resolve(&name).await?,
        None => address_of_ssh(&std::env::var("SSH_CONNECTION").unwrap_or_default())?,
    };
    let (interface, faster) = place(address, &resources::interfaces())?;
    let facts = Facts { address, interface, faster, ended, machine: Machine::look() };
    println!("{}", serde_json::to_string(&facts)?);
    Ok(())
}

async fn resolve(name: &str) -> anyhow::Result<IpAddr> {
    if let Ok(address) = name.parse() {
        return Ok(address);
    }
    let found = tokio::net::lookup_host((name, 0)).await.ok().and_then(|mut found| found.next());
    let found = found.with_context(|| {
        format!("it does not know the data address {name}; write an address in numbers")
    })?;
    Ok(found.ip())
}

/// The address that ssh came in by: the third of the four words that it leaves.
fn address_of_ssh(connection: &str) -> anyhow::Result<IpAddr> {
    let address = connection.split(' ').nth(2).and_then(|address| address.parse::<IpAddr>().ok());
    let address = address.context(
        "ssh does not tell which address it came in by; write =data_address behind its name",
    )?;
    // A host that is told in the other version's form is the same.
    let address = address.to_canonical();
    if address.is_loopback() {
        bail!(
            "it was reached at {address}, where other hosts don't reach it; write =data_address \
             behind its name"
        );
    }
    Ok(address)
}

/// The interface that has the address, and those with a faster link.
fn place(
    address: IpAddr,
    interfaces: &[Interface],
) -> anyhow::Result<(Interface, Vec<(Interface, IpAddr)>)> {
    let of_others = |address: &IpAddr| match address {
        IpAddr::V4(four) => !four.is_loopback() && !four.is_link_local(),
        IpAddr::V6(six) => !six.is_loopback() && !six.is_unicast_link_local(),
    };
    let Some(own) = interfaces.iter().find(|interface| interface.addresses.contains(&address))
    else {
        let all = interfaces.iter().flat_map(|interface| {
            let reachable = interface.addresses.iter().filter(|address| of_others(address));
            reachable.map(|address| format!("{address} ({})", interface.name))
        });
        bail!("it has no address {address}; it has: {}", all.collect::<Vec<_>>().join(", "));
    };
    let faster = interfaces.iter().filter_map(|other| {
        let is_faster = other.link_mbit > own.link_mbit && own.link_mbit.is_some();
        let reached = other.addresses.iter().find(|address| of_others(address))?;
        is_faster.then(|| (other.clone(), *reached))
    });
    Ok((own.clone(), faster.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interface(name: &str, addresses: &[&str], link_mbit: Option<u64>) -> Interface {
        let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
        Interface { name: name.to_owned(), addresses, link_mbit }
    }

    #[test]
    fn the_data_interface_is_found_with_those_that_are_faster() {
        let all = [
            interface("lo", &["127.0.0.1", "::1"], None),
            interface("eno1", &["10.1.0.1", "fe80::1"], Some(1_000)),
            interface("fast0", &["fe80::2", "fd00::1"], Some(10_000)),
        ];
        let (own, faster) = place("10.1.0.1".parse().unwrap(), &all).unwrap();
        assert_eq!(own.name, "eno1");
        assert_eq!(faster, [(all[2].clone(), "fd00::1".parse().unwrap())]);
        let (own, faster) = place("fd00::1".parse().unwrap(), &all).unwrap();
        assert_eq!((own.name.as_str(), faster.len()), ("fast0", 0));
        let error = place("10.9.9.9".parse().unwrap(), &all).unwrap_err().to_string();
        assert_eq!(error, "it has no address 10.9.9.9; it has: 10.1.0.1 (eno1), fd00::1 (fast0)");
    }

    #[test]
    fn the_address_that_ssh_came_in_by_is_taken_unless_it_is_the_hosts_own() {
        assert_eq!(address_of_ssh("10.0.0.9 5 10.0.0.1 22").unwrap().to_string(), "10.0.0.1");
        assert_eq!(address_of_ssh("a 5 ::ffff:10.0.0.1 22").unwrap().to_string(), "10.0.0.1");
        for connection in ["127.0.0.1 5 127.0.0.1 22", "::1 5 ::1 22", ""] {
            let error = address_of_ssh(connection).unwrap_err().to_string();
            assert!(error.contains("write =data_address behind its name"), "{error}");
        }
    }
}
