//! The subcommand `profile`.

/// Its flags.
#[derive(clap::Args)]
pub(crate) struct Profile {}

impl Profile {
    /// Measures.
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        anyhow::bail!("not there yet")
    }
}
