//! The subcommand `costs`.

/// Its flags.
#[derive(clap::Args)]
pub(crate) struct Costs {}

impl Costs {
    /// Measures.
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        anyhow::bail!("not there yet")
    }
}
