//! Which machines a run takes place on.

use std::path::Path;
use std::time::Duration;

use super::end::End;
use super::words::{last_line, variable};
use crate::tied;

/// How long CloudLab's tool may take.
const TOOL_TIME_MAX: Duration = Duration::from_secs(20);

/// Where CloudLab has its tool.
const TOOL: &str = "/usr/local/etc/emulab/tmcc";

/// A machine of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    /// As the user names it: `node0`, `node0:2222`.
    pub(crate) name: String,
    /// What ssh is given: `user@node0`.
    pub(crate) target: String,
    /// The port of its sshd, if it is not ssh's own choice.
    pub(crate) ssh_port: Option<u16>,
    /// The data address, if the user names it.
    pub(crate) address: Option<String>,
}

/// The machines, and what named them; none for a run on this machine.
///
/// # Errors
///
/// [`End::Stop`] if what the user gave cannot be used, or the hosts tool fails.
pub(crate) async fn find() -> Result<(Vec<Node>, String), End> {
    let (list, file) = (variable("KVS_HOSTS"), variable("KVS_HOSTS_FILE"));
    if list == "localhost" {
        return Ok((Vec::new(), String::new()));
    }
    if !list.is_empty() && !file.is_empty() {
        return Err(End::wrong("KVS_HOSTS_FILE and KVS_HOSTS are both set; unset one of them"));
    }
    if !file.is_empty() {
        return Ok((read_file(&file)?, file));
    }
    if !list.is_empty() {
        return Ok((read_list(&list)?, "KVS_HOSTS".to_owned()));
    }
    ask_tool().await
}

fn read_list(list: &str) -> Result<Vec<Node>, End> {
    let mut nodes = Vec::new();
    let words = list.split([',', ' ', '\t', '\n']).filter(|word| !word.is_empty());
    for word in words {
        add(&mut nodes, word, "KVS_HOSTS")?;
    }
    if nodes.is_empty() {
        return Err(End::wrong("KVS_HOSTS names no host; write e.g. KVS_HOSTS=\"node0 node1\""));
    }
    Ok(nodes)
}

/// A host a line; what follows # is for people.
fn read_file(file: &str) -> Result<Vec<Node>, End> {
    let text = std::fs::read(file).map_err(|error| {
        End::wrong(format!(
            "cannot read the hosts file {file}: {error}; set KVS_HOSTS_FILE to one with a host a \
             line"
        ))
    })?;
    let mut nodes = Vec::new();
    for (index, line) in String::from_utf8_lossy(&text).lines().enumerate() {
        let host = line.split('#').next().unwrap_or_default().trim();
        if !host.is_empty() {
            add(&mut nodes, host, &format!("{file} line {}", index + 1))?;
        }
    }
    if nodes.is_empty() {
        return Err(End::wrong(format!(
            "the hosts file {file} names no host; write one a line: \
             [user@]host[:ssh_port][=data_address]"
        )));
    }
    Ok(nodes)
}

/// CloudLab's tool prints a line for each node of the experiment; the nodes are called node0, node1
/// and on. Where it stands, this is a testbed, so its failure is not taken for a lone machine.
async fn ask_tool() -> Result<(Vec<Node>, String), End> {
    const MEND: &str =
        "name the nodes with KVS_HOSTS, or set KVS_HOSTS=localhost to run on this machine";
    let path = variable("PATH");
    let candidates = [TOOL.to_owned()].into_iter();
    let mut candidates = candidates.chain(path.split(':').map(|folder| format!("{folder}/tmcc")));
    let Some(tool) = candidates.find(|tool| is_program(Path::new(tool))) else {
        return Ok((Vec::new(), String::new()));
    };
    let source = format!("{tool} hostnames");
    let output = tied::command(&tool).arg("hostnames").output();
    let output = match tokio::time::timeout(TOOL_TIME_MAX, output).await {
        Ok(Ok(output)) if output.status.success() => output,
        other => {
            let said = match other {
                Ok(Ok(output)) => last_line(&String::from_utf8_lossy(&output.stderr)),
                Ok(Err(error)) => error.to_string(),
                Err(_) => format!("no answer within {} s", TOOL_TIME_MAX.as_secs()),
            };
            let said = if said.is_empty() { said } else { format!(": {said}") };
            return Err(End::stop(format!("the hosts tool failed: {source}{said}; {MEND}")));
        }
    };
    let text = String::from_utf8_lossy(&output.stdout);
    let count = text.lines().filter(|line| !line.trim().is_empty()).count();
    if count == 0 {
        return Err(End::stop(format!("the hosts tool named no node: {source}; {MEND}")));
    }
    let mut nodes = Vec::new();
    for index in 0..count {
        add(&mut nodes, &format!("node{index}"), &source)?;
    }
    Ok((nodes, source))
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

/// Adds `[user@]host[:ssh_port][=data_address]`, which stands in `place`.
fn add(nodes: &mut Vec<Node>, text: &str, place: &str) -> Result<(), End> {
    let node = parse(text).ok_or_else(|| {
        End::wrong(format!(
            "{place}: '{text}' is no host; write one as [user@]host[:ssh_port][=data_address]"
        ))
    })?;
    if node.ssh_port == Some(0) {
        let port = text.rsplit(':').next().unwrap_or_default();
        let port = port.split('=').next().unwrap_or_default();
        return Err(End::wrong(format!(
            "{place}: '{text}' has the port {port}; ports are 1 to 65535"
        )));
    }
    for other in nodes.iter() {
        if other.name == node.name {
            return Err(End::wrong(format!(
                "{place}: {} is named twice; name each host once, a host runs one process",
                node.name
            )));
        }
        if node.address.is_some() && other.address == node.address {
            return Err(End::wrong(format!(
                "{place}: {} and {} have the same data address {}; correct one of them",
                other.name,
                node.name,
                node.address.as_deref().unwrap_or_default()
            )));
        }
    }
    nodes.push(node);
    Ok(())
}

/// A host's description; a port that is none is 0. An address of IPv6 stands in brackets before a port:
/// `[fd00::1]:22`. Names begin with a letter or digit, so that nothing looks like an option of ssh.
fn parse(text: &str) -> Option<Node> {
    let (reached, address) = match text.split_once('=') {
        Some((reached, address)) => (reached, Some(address)),
        None => (text, None),
    };
    let address = match address {
        Some(address) => Some(is_address(bare(address)).then(|| bare(address).to_owned())?),
        None => None,
    };
    let (user, place) = match reached.rsplit_once('@') {
        Some((user, place)) => (Some(is_name(user).then_some(user)?), place),
        None => (None, reached),
    };
    let (host, port) = match place.strip_prefix('[') {
        Some(rest) => {
            let (host, behind) = rest.split_once(']')?;
            host.parse::<std::net::Ipv6Addr>().ok()?;
            let port = if behind.is_empty() { None } else { Some(behind.strip_prefix(':')?) };
            (host, port)
        }
        None => {
            let (host, port) = match place.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (place, None),
            };
            (is_name(host).then_some(host)?, port)
        }
    };
    let ssh_port = match port {
        Some(port) if port.len() <= 5 && port.bytes().all(|byte| byte.is_ascii_digit()) => {
            Some(port.parse::<u16>().unwrap_or(0)).filter(|_| !port.is_empty())
        }
        Some(_) => return None,
        None => None,
    };
    if port.is_some() && ssh_port.is_none() {
        return None;
    }
    let user = user.map_or_else(String::new, |user| format!("{user}@"));
    let name = place.to_owned();
    Some(Node { name, target: user + host, ssh_port, address })
}

/// Without the brackets around an address of IPv6.
fn bare(address: &str) -> &str {
    address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address)
}

fn is_name(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphanumeric() || first == '_')
        && text.chars().all(|letter| letter.is_ascii_alphanumeric() || "._-".contains(letter))
}

fn is_address(text: &str) -> bool {
    text.parse::<std::net::IpAddr>().is_ok() || is_name(text)
}

/// How many servers and clients there are, and keeps the nodes that they take. Without counts half the
/// nodes serve, rounded down, and the rest drive: clients work harder than servers.
pub(crate) fn share(
    nodes: &mut Vec<Node>,
    source: &str,
    servers: Option<usize>,
    clients: Option<usize>,
) -> Result<(usize, usize), End> {
    let count = nodes.len();
    if count < 2 {
        return Err(End::wrong(format!(
            "{source} names one host, and a run takes two or more; add hosts, or set \
             KVS_HOSTS=localhost to run on this machine"
        )));
    }
    let servers = servers.unwrap_or(count / 2);
    let clients = clients.unwrap_or(count.saturating_sub(servers).max(1));
    if servers + clients > count {
        return Err(End::wrong(format!(
            "{servers} servers and {clients} clients take {} hosts, but {source} names {count}; \
             lower the counts or add hosts",
            servers + clients
        )));
    }
    nodes.truncate(servers + clients);
    Ok((servers, clients))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_have_users_ports_and_addresses() {
        let node = |text| parse(text).unwrap();
        let plain = node("node0");
        assert_eq!((plain.name.as_str(), plain.target.as_str()), ("node0", "node0"));
        assert_eq!((plain.ssh_port, plain.address), (None, None));
        let whole = node("me@node-2.lab:2222=10.10.1.2");
        assert_eq!(
            (whole.name.as_str(), whole.target.as_str()),
            ("node-2.lab:2222", "me@node-2.lab")
        );
        assert_eq!((whole.ssh_port, whole.address.as_deref()), (Some(2222), Some("10.10.1.2")));
        let six = node("root@[fd77::1]:22=[fd77::2]");
        assert_eq!((six.name.as_str(), six.target.as_str()), ("[fd77::1]:22", "root@fd77::1"));
        assert_eq!((six.ssh_port, six.address.as_deref()), (Some(22), Some("fd77::2")));
        assert_eq!(node("[fd77::1]").ssh_port, None);
        assert_eq!(node("a:0").ssh_port, Some(0));
        assert_eq!(node("a:70000").ssh_port, Some(0));
    }

    #[test]
    fn what_is_no_host_is_refused() {
        for text in [
            "-oProxyCommand=x",
            "a b",
            "@a",
            "a@",
            "a:",
            "a:x",
            "a:123456",
            "fd77::1",
            "[a]:1",
            "[fd77::1",
            "[fd77::1]x",
            "a=",
            "a=-x",
            "",
            "a@-b",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_host_is_named_once() {
        let told = |list| match read_list(list) {
            Err(End::Stop { status: 2, lines }) => lines.join("\n"),
            other => panic!("not refused: {other:?}"),
        };
        assert_eq!(read_list("a,b  c").unwrap().len(), 3);
        assert_eq!(
            told("a a"),
            "KVS_HOSTS: a is named twice; name each host once, a host runs one process"
        );
        assert!(told("a=1.2.3.4 b=1.2.3.4").contains("a and b have the same data address 1.2.3.4"));
        assert!(told(" , ").contains("names no host"));
        assert!(told("a b:0").contains("'b:0' has the port 0; ports are 1 to 65535"));
    }

    #[test]
    fn half_of_the_hosts_serve() {
        let nodes = |count| {
            read_list(&"abcdefgh"[..count].split("").collect::<Vec<_>>().join(" ")).unwrap()
        };
        let shared = |count, servers, clients| {
            let mut nodes = nodes(count);
            share(&mut nodes, "X", servers, clients).map(|counts| (counts, nodes.len()))
        };
        assert_eq!(shared(3, None, None).unwrap(), ((1, 2), 3));
        assert_eq!(shared(8, Some(4), Some(1)).unwrap(), ((4, 1), 5));
        assert!(shared(8, Some(5), Some(4)).is_err());
        assert!(shared(8, Some(8), None).is_err());
        assert!(shared(1, None, None).is_err());
    }
}
