//! A published run: the small files of its folder, kept beside the document.

use std::path::Path;

use super::{DocumentError, markdown};
use crate::capacity;
use crate::cluster::{self, ClusterResult};
use crate::plots::{self, Picture};
use crate::results::Results;
use crate::run_folder::{Description, RunFolder};
use crate::table;

/// What a run's costs predict for a testbed; `None` if it tells no clock or no processor times.
pub(super) fn capacity(folder: &Path) -> Result<Option<Results>, DocumentError> {
    let run = RunFolder::read(folder)?;
    let Some(clock_mhz) =
        run.description.environment.hosts.first().and_then(|h| h.machine.clock_mhz)
    else {
        return Ok(None);
    };
    let (result, clients) = (cluster::compute(&run)?, run.read_clients()?);
    let clock_ghz = (f64::from(clock_mhz) / 100.0).round() / 10.0;
    Ok(capacity::table(&run, &clients, &result, clock_ghz, &capacity::M510))
}

/// A run with its total.
pub(super) struct Run {
    description: Description,
    result: ClusterResult,
    /// Its pictures.
    pub(super) pictures: Vec<Picture>,
}

impl Run {
    pub(super) fn read(folder: &Path) -> Result<Self, DocumentError> {
        let run = RunFolder::read(folder)?;
        let result = cluster::compute(&run)?;
        let pictures = plots::of_run(&run, Some(result.window))?;
        Ok(Self { description: run.description, result, pictures })
    }

    /// The line to quote, where the run took place, and the commands that repeat it.
    pub(super) fn text(&self) -> String {
        let environment = &self.description.environment;
        let mut hosts: Vec<String> = environment
            .hosts
            .iter()
            .map(|host| {
                format!(
                    "{}, {} cores, {}, {}",
                    host.machine.cpu, host.machine.cores, host.machine.kernel, host.machine.system
                )
            })
            .collect();
        hosts.dedup();
        let mut place = vec![self.description.mode.clone()];
        place.append(&mut hosts);
        if !environment.commit.is_empty() {
            place.push(format!("commit {}", environment.commit));
        }
        let again = format!(
            "./run-cluster.sh {} {} '{}' '{}'\nkvs-lab publish log/latest",
            self.description.servers,
            self.description.clients,
            self.description.server_args,
            self.description.client_args
        );
        format!(
            "    {}\n    {}\n\n*{}.*\n\n{}\n",
            self.result.bottleneck,
            table::total_line(&self.result),
            markdown::escaped(&place.join("; ")),
            markdown::command(&again)
        )
    }
}
