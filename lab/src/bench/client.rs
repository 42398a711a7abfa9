//! The subcommand `client`.

/// Its flags.
#[derive(clap::Args)]
pub(crate) struct Client {}

impl Client {
    /// Measures.
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        anyhow::bail!("not there yet")
    }
}
