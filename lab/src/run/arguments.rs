//! What the user typed: counts, the two strings of flags, and switches of the environment.

use super::end::End;
use super::hosts::{self, Node};
use super::words::{split, variable};

/// The most processes of one kind.
const COUNT_MAX: usize = 1_000;

/// Flags that the launcher itself sets, and what to type instead.
const OWNED: [(&str, &str); 11] = [
    ("listen", "the launcher decides it: 127.0.0.1, or the =data_address in the hosts file"),
    ("hosts", "the launcher lists its own servers; start kvs-client by hand for others"),
    ("shard", "the number of servers, the first argument, decides it"),
    ("client_index", "the number of clients, the second argument, decides it"),
    ("client_count", "the number of clients, the second argument, decides it"),
    ("run_id", "the folder of the run names it"),
    ("port_file", "give the servers -port N, or nothing for any free port"),
    ("mode", "the launcher knows where the run takes place"),
    ("history", "set KVS_CHECK=1 to have histories written and checked"),
    ("json", "every result is written to the folder of the run"),
    ("target", "the launcher drives its own servers; start kvs-client by hand for others"),
];

/// What is asked for.
#[derive(Debug)]
pub(crate) struct Arguments {
    /// The machines of a cluster, the servers' first; none for a run on this machine.
    pub(crate) nodes: Vec<Node>,
    /// What named them.
    pub(crate) hosts_source: String,
    /// How many servers.
    pub(crate) servers: usize,
    /// How many clients.
    pub(crate) clients: usize,
    /// Flags for every server.
    pub(crate) server_args: Vec<String>,
    /// Flags for every client.
    pub(crate) client_args: Vec<String>,
    /// The first server's port; 0 for any free ones.
    pub(crate) port: u16,
    /// Whether every operation is recorded and checked.
    pub(crate) checks: bool,
    /// Whether what was recorded is kept after a pass.
    pub(crate) keeps_history: bool,
    /// The speed of every link, as the user tells it.
    pub(crate) link_mbit: Option<u64>,
    /// The folder on the hosts, if the user names one.
    pub(crate) node_dir: Option<String>,
    /// Where the run takes place, in words.
    pub(crate) mode: String,
}

impl Arguments {
    /// Reads what was typed, and what the environment says.
    ///
    /// # Errors
    ///
    /// [`End::Stop`] with a line that says what to type instead.
    pub(crate) async fn read(words: &[String]) -> Result<Self, End> {
        if words.len() > 4 {
            return Err(End::wrong(format!(
                "4 arguments at most, not {}; put the flags of one side into one pair of quotes",
                words.len()
            )));
        }
        let (mut nodes, hosts_source) = hosts::find().await?;
        let servers = words.first().map(|word| count("servers", word)).transpose()?;
        let clients = words.get(1).map(|word| count("clients", word)).transpose()?;
        let (servers, clients) = if nodes.is_empty() {
            (servers.unwrap_or(1), clients.unwrap_or(1))
        } else {
            hosts::share(&mut nodes, &hosts_source, servers, clients)?
        };
        let mut server_args = split(words.get(2));
        let mut client_args = split(words.get(3));
        refuse_owned("server", &server_args)?;
        refuse_owned("client", &client_args)?;
        let link_mbit = link_mbit(&variable("KVS_LINK_MBIT"))?;
        let (checks, keeps_history) = (switch("KVS_CHECK")?, switch("KVS_KEEP_HISTORY")?);
        let port = take_flag("port", &mut server_args);
        let port = first_port(&port, if nodes.is_empty() { servers } else { 1 })?;
        if !has_flag("secs", &client_args) && !has_flag("operations", &client_args) {
            client_args.extend(["-secs".to_owned(), "10".to_owned()]);
        }
        let processes = servers + clients;
        let mode = if nodes.is_empty() {
            share_cores(processes, [&mut server_args, &mut client_args]);
            format!("dev: {processes} processes on ONE machine, not a cluster figure")
        } else {
            format!("cluster: {servers} servers and {clients} clients on {processes} machines")
        };
        Ok(Self {
            node_dir: node_dir(&variable("KVS_NODE_DIR"))?,
            nodes,
            hosts_source,
            servers,
            clients,
            server_args,
            client_args,
            port,
            checks,
            keeps_history,
            link_mbit,
            mode,
        })
    }
}

/// On one machine the processes share the cores, unless the user says how.
fn share_cores(processes: usize, sides: [&mut Vec<String>; 2]) {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    for flags in sides {
        if !has_flag("threads", flags) {
            flags.extend(["-threads".to_owned(), (cores / processes).max(1).to_string()]);
        }
    }
}

/// The flag's name in its one spelling: `-batch_size`, `--batch-size` and `-batch_size=3` are all
/// `batch_size`. `None` if the word is no flag.
fn flag_name(word: &str) -> Option<String> {
    let bare = word.strip_prefix("--").or_else(|| word.strip_prefix('-'))?;
    let name = bare.split('=').next()?;
    let is_name = name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name.chars().all(|letter| letter.is_ascii_alphanumeric() || "_-".contains(letter));
    is_name.then(|| name.replace('-', "_"))
}

fn has_flag(name: &str, words: &[String]) -> bool {
    words.iter().any(|word| flag_name(word).as_deref() == Some(name))
}

/// Removes the flag with its value; the value, empty if the flag is not there. The last one counts.
fn take_flag(name: &str, words: &mut Vec<String>) -> String {
    let mut value = String::new();
    let mut kept = Vec::new();
    let mut rest = std::mem::take(words).into_iter();
    while let Some(word) = rest.next() {
        if flag_name(&word).as_deref() != Some(name) {
            kept.push(word);
        } else if let Some((_, behind)) = word.split_once('=') {
            value = behind.to_owned();
        } else {
            value = rest.next().unwrap_or_default();
        }
    }
    *words = kept;
    value
}

fn refuse_owned(who: &str, words: &[String]) -> Result<(), End> {
    for name in words.iter().filter_map(|word| flag_name(word)) {
        if let Some((_, instead)) = OWNED.iter().find(|(owned, _)| *owned == name) {
            return Err(End::wrong(format!(
                "-{name} in the {who}'s arguments belongs to the launcher: {instead}"
            )));
        }
    }
    Ok(())
}

/// Whether a variable of the environment is on.
fn switch(name: &str) -> Result<bool, End> {
    match variable(name).as_str() {
        "1" => Ok(true),
        "" | "0" => Ok(false),
        other => Err(End::wrong(format!("{name} is '{other}'; set it to 1, or leave it out"))),
    }
}

fn digits(text: &str, most: usize) -> Option<usize> {
    let are_digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    (are_digits && text.len() <= most).then(|| text.parse().ok()).flatten()
}

fn count(what: &str, text: &str) -> Result<usize, End> {
    digits(text, 9).filter(|count| (1..=COUNT_MAX).contains(count)).ok_or_else(|| {
        End::wrong(format!(
            "the number of {what} must be 1 to {COUNT_MAX}, not '{text}'; see ./run-cluster.sh -help"
        ))
    })
}

fn first_port(text: &str, servers: usize) -> Result<u16, End> {
    let port = if text.is_empty() { Some(0) } else { digits(text, 5) };
    let port = port.filter(|port| port + servers - 1 <= usize::from(u16::MAX));
    port.and_then(|port| port.try_into().ok()).ok_or_else(|| {
        End::wrong(format!(
            "-port {text} leaves no room for {servers} ports up to 65535; give a lower one"
        ))
    })
}

fn link_mbit(text: &str) -> Result<Option<u64>, End> {
    if text.is_empty() {
        return Ok(None);
    }
    match digits(text, 9).filter(|_| !text.starts_with('0')) {
        Some(mbit) => Ok(Some(mbit as u64)),
        None => Err(End::wrong(format!(
            "KVS_LINK_MBIT is '{text}'; set it to a whole number of Mbit/s, such as 200, or leave \
             it out"
        ))),
    }
}

fn node_dir(text: &str) -> Result<Option<String>, End> {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "._/-".contains(letter);
    match text {
        "" => Ok(None),
        text if text.starts_with('/') && text.chars().all(plain) => Ok(Some(text.to_owned())),
        _ => Err(End::wrong(format!(
            "KVS_NODE_DIR is '{text}'; set it to an absolute path of plain letters, or leave it out"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        split(Some(&text.to_owned()))
    }

    fn told<T: std::fmt::Debug>(result: Result<T, End>) -> String {
        match result {
            Err(End::Stop { status: 2, lines }) => lines.join("\n"),
            other => panic!("not refused: {other:?}"),
        }
    }

    #[test]
    fn every_spelling_of_a_flag_is_one_name() {
        for word in ["-batch_size", "--batch-size", "-batch-size=3", "--batch_size="] {
            assert_eq!(flag_name(word).as_deref(), Some("batch_size"), "{word}");
        }
        for word in ["batch_size", "-", "--", "-1", "---x", "-a b"] {
            assert_eq!(flag_name(word), None, "{word}");
        }
    }

    #[test]
    fn the_last_port_counts_and_goes() {
        let mut flags = words("-port 1 -store scc --port=7");
        assert_eq!(take_flag("port", &mut flags), "7");
        assert_eq!(flags, words("-store scc"));
        assert_eq!(take_flag("port", &mut flags), "");
        assert_eq!(first_port("", 4).unwrap(), 0);
        assert_eq!(first_port("65532", 4).unwrap(), 65_532);
        assert!(told(first_port("65533", 4)).contains("leaves no room for 4 ports"));
        assert!(told(first_port("x", 1)).contains("-port x"));
    }

    #[test]
    fn counts_are_one_to_a_thousand() {
        assert_eq!(count("servers", "0010").unwrap(), 10);
        for text in ["0", "abc", "-1", "1001", "1.5", "", " ", "99999999999999999999"] {
            assert!(told(count("servers", text)).contains("must be 1 to 1000"), "{text}");
        }
    }

    #[test]
    fn flags_of_the_launcher_are_refused() {
        assert!(refuse_owned("server", &words("-store scc -threads 2")).is_ok());
        for flags in ["-listen ::", "--client-index=0", "-secs 1 -json x", "-target redis://a:1"] {
            let text = told(refuse_owned("client", &words(flags)));
            assert!(text.contains("in the client's arguments belongs to the launcher"), "{text}");
        }
    }

    #[test]
    fn settings_of_the_environment_are_checked() {
        assert_eq!(link_mbit("200").unwrap(), Some(200));
        assert_eq!(link_mbit("").unwrap(), None);
        assert!(told(link_mbit("0200")).contains("KVS_LINK_MBIT is '0200'"));
        assert_eq!(node_dir("/tmp/a-b.c").unwrap().as_deref(), Some("/tmp/a-b.c"));
        assert!(told(node_dir("/tmp/a b")).contains("KVS_NODE_DIR"));
        assert!(told(node_dir("tmp")).contains("absolute"));
    }
}
