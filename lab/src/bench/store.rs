//! The subcommand `store`.

/// Its flags.
#[derive(clap::Args)]
pub(crate) struct Store {}

impl Store {
    /// Measures.
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        anyhow::bail!("not there yet")
    }
}
