//! The subcommand `scaling`.

/// Its flags.
#[derive(clap::Args)]
pub(crate) struct Scaling {}

impl Scaling {
    /// Measures.
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        anyhow::bail!("not there yet")
    }
}
