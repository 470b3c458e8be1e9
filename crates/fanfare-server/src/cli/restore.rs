//! `fanfare restore`: replaces the database by a backup, while no server runs.

use std::path::PathBuf;

use clap::Args;
use fanfare_accounts::storage;

use super::{CommandFailure, Global, Outcome, Profile, block_on, output};

/// Replace the SQLite database by a backup; the server must be stopped.
#[derive(Args)]
pub(super) struct Restore {
    /// The backup, made by `fanfare backup`; it is copied
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

impl Restore {
    pub(super) fn run(&self, global: &Global) -> Outcome {
        let config = global.load(&Profile::default())?.config;
        let kept = block_on(async {
            let restored = storage::restore(&config.storage.url, &self.file).await;
            restored.map_err(|error| CommandFailure::Runtime(format!("{}: {error}", self.file.display())))
        })?;
        output::line(format_args!("restored  {}", config.storage.url));
        if let Some(kept) = kept {
            output::line(format_args!("kept      {} (the database before)", kept.display()));
        }
        Ok(())
    }
}
