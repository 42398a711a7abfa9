//! The subcommand `sweeps`.

/// Its flags.
#[derive(clap::Args)]
pub(crate) struct Sweeps {}

impl Sweeps {
    /// Measures.
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        anyhow::bail!("not there yet")
    }
}
