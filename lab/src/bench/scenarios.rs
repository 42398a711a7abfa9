//! The subcommand `scenarios`.

/// Its flags.
#[derive(clap::Args)]
pub(crate) struct Scenarios {}

impl Scenarios {
    /// Measures.
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        anyhow::bail!("not there yet")
    }
}
