//! `fanfare restore`: replaces the database by a backup, while no server runs.

use std::path::PathBuf;

use clap::Args;
use fanfare_accounts::storage;

use super::{Global, Outcome, block_on, output};

#[derive(Args)]
pub(super) struct Restore {
    /// The backup, made by `fanfare backup`; it is copied
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

impl Restore {
    pub(super) fn run(&self, global: &Global) -> Outcome {
        let config = global.config()?;
        let kept = block_on(async {
            let restored = storage::restore(&config.storage.url, &self.file).await;
            Ok(restored.map_err(|error| format!("{}: {error}", self.file.display()))?)
        })?;
        output::line(format_args!("restored  {}", config.storage.url));
        if let Some(kept) = kept {
            output::line(format_args!("kept      {} (the database before)", kept.display()));
        }
        Ok(())
    }
}
