//! The subcommand `check`.

/// Its flags.
#[derive(clap::Args)]
pub(crate) struct Check {}

impl Check {
    /// Measures.
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        anyhow::bail!("not there yet")
    }
}
