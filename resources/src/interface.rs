//! The host's network interfaces, with their addresses and speeds.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use sysinfo::{NetworkData, Networks};

/// A network interface of the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// Its name, such as `eth0`.
    pub name: String,
    /// Its addresses in ascending order, those of version 4 before those of version 6. Loopback and
    /// link-local ones are among them.
    #[serde(default)]
    pub addresses: Vec<IpAddr>,
    /// Its speed in megabits per second, where the system knows it: loopback, virtual links and
    /// those without a cable have none.
    #[serde(default)]
    pub link_mbit: Option<u64>,
}

/// All interfaces of this host by name; none where the system does not tell them.
pub fn interfaces() -> Vec<Interface> {
    let Ok(networks) = Networks::new_with_refreshed_list() else { return Vec::new() };
    let interface = |(name, data): (&std::ffi::OsString, &NetworkData)| {
        let mut addresses: Vec<IpAddr> = data.ip_networks().iter().map(|ip| ip.addr).collect();
        addresses.sort_unstable();
        let name = name.to_string_lossy().into_owned();
        Interface { name, addresses, link_mbit: link_mbit(data) }
    };
    let mut interfaces: Vec<Interface> = networks.iter().map(interface).collect();
    interfaces.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    interfaces
}

/// The speed of an interface in megabits per second, where the system knows it.
pub(crate) fn link_mbit(data: &NetworkData) -> Option<u64> {
    data.transmit_link_speed().map(|bits| bits / 1_000_000).filter(|mbit| *mbit > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_has_its_address_and_no_speed() {
        let interfaces = interfaces();
        let loopback = interfaces.iter().find(|interface| interface.name == "lo");
        let loopback = loopback.expect("a host has a loopback interface");
        let [first, ..] = loopback.addresses[..] else { panic!("{loopback:?}") };
        assert!(first.is_loopback(), "{loopback:?}");
        assert_eq!(loopback.link_mbit, None);
        assert!(interfaces.is_sorted_by_key(|interface| &interface.name), "{interfaces:?}");
    }

    #[test]
    fn an_interface_reads_back() {
        let text = r#"{"name":"eth0","addresses":["10.0.0.1","fe80::1"],"link_mbit":10000}"#;
        let interface: Interface = serde_json::from_str(text).unwrap();
        let addresses: Vec<String> = interface.addresses.iter().map(IpAddr::to_string).collect();
        assert_eq!(addresses, ["10.0.0.1", "fe80::1"]);
        assert_eq!(serde_json::to_string(&interface).unwrap(), text);
        let bare: Interface = serde_json::from_str(r#"{"name":"eth0"}"#).unwrap();
        assert_eq!((bare.addresses.len(), bare.link_mbit), (0, None));
        assert!(serde_json::from_str::<Interface>(r#"{"link_mbit":1}"#).is_err());
    }
}
