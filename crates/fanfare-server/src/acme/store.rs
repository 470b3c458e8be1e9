//! Stores the account and the certificate of one authority, in files of the data folder.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use instant_acme::AccountCredentials;

use super::AcmeError;
use crate::private_file;

const FOLDER: &str = "acme";

/// The folder of one authority. Each ACME directory has its own, so a staging directory's certificate is never shown in production.
pub(super) struct Store {
    folder: PathBuf,
}

impl Store {
    pub(super) fn new(data_dir: &Path, directory: &str) -> Self {
        let name = directory.trim_start_matches("https://");
        let is_special = |c: char| !c.is_ascii_alphanumeric() && c != '.';
        let name = name.replace(is_special, "-");
        let folder = data_dir.join(FOLDER).join(name);
        Self { folder }
    }

    /// Returns the certificate chain with its key, as PEM.
    pub(super) fn certificate(&self) -> Result<Option<Vec<u8>>, AcmeError> {
        read(&self.certificate_file())
    }

    pub(super) fn certificate_file(&self) -> PathBuf {
        self.folder.join("certificate.pem")
    }

    pub(super) fn save_certificate(&self, pem: &[u8]) -> Result<(), AcmeError> {
        self.write(&self.certificate_file(), pem)
    }

    /// Returns the account; `None` if there is none that can be used.
    pub(super) fn account(&self) -> Result<Option<AccountCredentials>, AcmeError> {
        let path = self.account_file();
        let content = read(&path)?;
        let parsed = content
            .map(|content| serde_json::from_slice(&content))
            .transpose();
        Ok(parsed.unwrap_or_else(|error| {
            tracing::warn!(%error, file = %path.display(), "the file has no ACME account; registering a new one");
            None
        }))
    }

    pub(super) fn save_account(&self, account: &AccountCredentials) -> Result<(), AcmeError> {
        self.write(&self.account_file(), &serde_json::to_vec(account)?)
    }

    /// Fails if a certificate could not be stored: an authority soon refuses a server that orders at each start.
    pub(super) fn check_writable(&self) -> Result<(), AcmeError> {
        let probe = private_file::temporary_beside(&self.certificate_file());
        self.write(&probe, b"")?;
        let _ = fs::remove_file(probe); // it is empty, and its name is not used again
        Ok(())
    }

    fn account_file(&self) -> PathBuf {
        self.folder.join("account.json")
    }

    fn write(&self, path: &Path, content: &[u8]) -> Result<(), AcmeError> {
        let made = private_file::make_folder(&self.folder);
        let written = made.and_then(|()| private_file::replace(path, content));
        written.map_err(|error| AcmeError(format!("{} cannot be written: {error}", path.display())))
    }
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, AcmeError> {
    match fs::read(path) {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(AcmeError(format!("{} cannot be read: {error}", path.display()))),
    }
}
