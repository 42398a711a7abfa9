//! The flag `-target`: which store a run drives.

use std::fmt;
use std::str::FromStr;

/// What stands behind `-target`; without the flag, it is our servers of `-hosts`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Address {
    /// Our servers.
    #[default]
    Ours,
    /// A Redis server, or one that speaks its protocol.
    Redis(PeerAddress),
    /// A memcached server.
    Memcached(PeerAddress),
}

/// Where a peer listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PeerAddress {
    /// The name or address of its host.
    pub(crate) host: String,
    /// Its TCP port.
    pub(crate) port: u16,
    /// What it is asked for, if anything.
    pub(crate) password: Option<String>,
}

const FORM: &str = "write redis://host:port, redis://:password@host:port or memcached://host:port";

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(format!("`{text}` is no URL; {FORM}"));
        };
        let peer = || PeerAddress::parse(rest.trim_end_matches('/'));
        match scheme {
            "redis" => Ok(Self::Redis(peer()?)),
            "memcached" => match peer()? {
                PeerAddress { password: Some(_), .. } => {
                    Err("memcached is driven without a password; start it without SASL".to_owned())
                }
                peer => Ok(Self::Memcached(peer)),
            },
            "rediss" => Err("TLS is not spoken; write redis:// and a port without it".to_owned()),
            other => Err(format!("there is no target of the kind `{other}`; {FORM}")),
        }
    }
}

impl PeerAddress {
    fn parse(rest: &str) -> Result<Self, String> {
        let (user, place) = match rest.rsplit_once('@') {
            Some((user, place)) => (Some(user), place),
            None => (None, rest),
        };
        let password = match user.map(|user| user.split_once(':')) {
            None => None,
            Some(Some(("", password))) if !password.is_empty() => Some(password.to_owned()),
            Some(_) => return Err(format!("before the @ stands :password, and no name; {FORM}")),
        };
        let parts = place.rsplit_once(':').filter(|(host, _)| !host.is_empty());
        let Some((host, port)) = parts else {
            return Err(format!("`{place}` has no port; {FORM}"));
        };
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        match port.parse() {
            Ok(port) if port > 0 => Ok(Self { host, port, password }),
            _ => Err(format!("`{port}` is no port, which are 1 to 65535; {FORM}")),
        }
    }

    /// Host and port in one.
    pub(crate) fn endpoint(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

/// The URL without the password: this is what stands in results.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ours => f.write_str("kvs"),
            Self::Redis(peer) => write!(f, "redis://{}", peer.endpoint()),
            Self::Memcached(peer) => write!(f, "memcached://{}", peer.endpoint()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_and_shown_without_their_password() {
        for (text, shown) in [
            ("redis://localhost:6379", "redis://localhost:6379"),
            ("redis://:secret@10.0.0.1:6379/", "redis://10.0.0.1:6379"),
            ("memcached://[::1]:11211", "memcached://[::1]:11211"),
        ] {
            let address: Address = text.parse().expect("the URL is right");
            assert_eq!(address.to_string(), shown);
        }
        let Ok(Address::Redis(peer)) = "redis://:a@b:c@h:1".parse() else { panic!("it is right") };
        assert_eq!((peer.password.as_deref(), peer.host.as_str()), (Some("a@b:c"), "h"));
    }

    #[test]
    fn urls_that_name_no_peer_say_how_one_is_named() {
        for (text, reason) in [
            ("localhost:6379", "redis://host:port"),
            ("etcd://localhost:1", "`etcd`"),
            ("redis://localhost", "no port"),
            ("redis://:6379", "no port"),
            ("redis://h:0", "1 to 65535"),
            ("redis://h:port", "1 to 65535"),
            ("redis://me:secret@h:1", "no name"),
            ("rediss://h:1", "TLS"),
            ("memcached://:secret@h:1", "SASL"),
        ] {
            let error = text.parse::<Address>().expect_err("the URL is wrong");
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
