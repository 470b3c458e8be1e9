//! `fanfare backup`: a copy of the database, made while the server runs.

use std::path::PathBuf;

use clap::Args;

use super::accounts::with_storage;
use super::{Failure, Global, Outcome};

/// Write a consistent copy of the SQLite database to a new file; the server may be running.
#[derive(Args)]
pub(super) struct Backup {
    /// The file to make; one that is there already is not overwritten
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

impl Backup {
    pub(super) fn run(&self, global: &Global) -> Outcome {
        with_storage(&global.load(None)?.config, async |storage| {
            let backup = storage.backup(&self.file).await;
            backup.map_err(|error| Failure::Runtime(format!("{}: {error}", self.file.display())))
        })
    }
}
