//! The subcommand `open_loop`.

/// Its flags.
#[derive(clap::Args)]
pub(crate) struct OpenLoop {}

impl OpenLoop {
    /// Measures.
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        anyhow::bail!("not there yet")
    }
}
