//! What is noted of a run before it starts: `run.json`.

use report::run_folder::{Description, Environment, Host};
use resources::Machine;

use super::arguments::Arguments;
use super::cluster::Cluster;
use super::end::End;
use super::folder::Folders;

/// Writes the description, with what is known of the hosts by now.
///
/// # Errors
///
/// When the file can't be written.
pub(crate) fn write(
    arguments: &Arguments,
    folders: &Folders,
    cluster: Option<&Cluster>,
    commit: &str,
) -> Result<(), End> {
    let description = Description {
        mode: arguments.mode.clone(),
        servers: arguments.servers as u32,
        clients: arguments.clients as u32,
        machines: cluster.map_or(1, |cluster| cluster.size() as u32),
        server_args: arguments.server_args.join(" "),
        client_args: arguments.client_args.join(" "),
        started_unix_ms: folders.started_unix_ms,
        link_mbit: arguments.link_mbit,
        warnings: cluster.map_or_else(Vec::new, Cluster::warnings),
        environment: Environment {
            commit: commit.to_owned(),
            hosts: cluster.map_or_else(
                || vec![Host { machine: Machine::look(), ..Host::default() }],
                Cluster::hosts,
            ),
        },
    };
    description.write(&folders.run.join("run.json")).map_err(|error| {
        let why = std::error::Error::source(&error).map_or_else(String::new, |it| format!(": {it}"));
        let folder = folders.run.display();
        End::failed(format!(
            "cannot write {folder}/run.json{why}; make room there, or set KVS_LOG_DIR to another folder"
        ))
    })
}
