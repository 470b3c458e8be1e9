//! `fanfare restore`: puts a backup in the place of the database, while no server runs.

use std::path::PathBuf;

use clap::Args;
use fanfare_accounts::storage;

use super::{Failure, Global, Outcome, Profile, block_on, output};

/// Put a backup in the place of the SQLite database; the server must be stopped.
#[derive(Args)]
pub(super) struct Restore {
    /// The backup, as `fanfare backup` makes it; it stays as it is
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

impl Restore {
    pub(super) fn run(&self, global: &Global) -> Outcome {
        let config = global.load(&Profile::default())?.config;
        let kept = block_on(async {
            let restored = storage::restore(&config.storage.url, &self.file).await;
            restored.map_err(|error| Failure::Runtime(format!("{}: {error}", self.file.display())))
        })?;
        output::line(format_args!("restored  {}", config.storage.url));
        if let Some(kept) = kept {
            output::line(format_args!("kept      {} (the database before)", kept.display()));
        }
        Ok(())
    }
}
