//! The subcommand `compare`.

/// Its flags.
#[derive(clap::Args)]
pub(crate) struct Compare {}

impl Compare {
    /// Measures.
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        anyhow::bail!("not there yet")
    }
}
