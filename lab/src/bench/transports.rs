//! The subcommand `transports`.

/// Its flags.
#[derive(clap::Args)]
pub(crate) struct Transports {}

impl Transports {
    /// Measures.
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        anyhow::bail!("not there yet")
    }
}
