//! The subcommand `publish`.

/// Its flags.
#[derive(clap::Args)]
pub(crate) struct Publish {}

impl Publish {
    /// Measures.
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        anyhow::bail!("not there yet")
    }
}
