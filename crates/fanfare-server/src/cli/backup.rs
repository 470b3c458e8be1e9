//! `fanfare backup`: a copy of the database, made while the server runs.

use std::path::PathBuf;

use clap::Args;

use super::accounts::with_storage;
use super::{Global, Outcome, token};

#[derive(Args)]
pub(super) struct Backup {
    /// The file to create; an existing one is not overwritten
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

impl Backup {
    pub(super) fn run(&self, global: &Global) -> Outcome {
        let config = global.config()?;
        with_storage(&config, async |storage| {
            let backup = storage.backup(&self.file).await;
            Ok(backup.map_err(|error| format!("{}: {error}", self.file.display()))?)
        })?;
        if let Some(secret) = token::generated_secret(&config) {
            // Not on standard output, which is for programs.
            eprintln!(
                "fanfare: the secret that signs tokens is not in the backup. Also copy {}: if it is lost, every token is \
                 refused",
                secret.display()
            );
        }
        Ok(())
    }
}
