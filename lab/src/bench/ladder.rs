//! The subcommand `ladder`.

/// Its flags.
#[derive(clap::Args)]
pub(crate) struct Ladder {}

impl Ladder {
    /// Measures.
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        anyhow::bail!("not there yet")
    }
}
