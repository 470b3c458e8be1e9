//! The lock on the data folder, so that a server that is started twice does not use the other's database and secret.

use std::{fs::File, path::Path};

use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};

use crate::private_file;

/// Holds the folder. The system releases it with the process, however that ends.
pub(super) struct DataLock {
    _folder: Option<File>,
}

impl DataLock {
    /// Takes the folder, and makes it where it is missing; fails if another server has it. One that this server may not
    /// make or lock holds nothing of its own.
    pub(super) fn take(data_dir: &Path) -> Result<Self, String> {
        // A folder has a lock without a file, so a full disk and a root that is read-only do not matter.
        let opened = private_file::make_folder(data_dir).and_then(|()| File::open(data_dir));
        let folder = match opened {
            Ok(folder) => folder,
            Err(error) => return Ok(Self::without(data_dir, &error)),
        };
        match flock(&folder, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self {
                _folder: Some(folder),
            }),
            Err(Errno::WOULDBLOCK) => Err(format!(
                "another server has data_dir {:?}: stop it, or give this one a data_dir of its own",
                std::path::absolute(data_dir)
                    .as_deref()
                    .unwrap_or(data_dir)
                    .display()
            )),
            Err(error) => Ok(Self::without(data_dir, &error.into())),
        }
    }

    fn without(data_dir: &Path, error: &std::io::Error) -> Self {
        tracing::debug!(%error, data_dir = %data_dir.display(), "the data folder is not locked");
        Self { _folder: None }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn one_server_at_a_time() {
        let parent = tempfile::tempdir().unwrap();
        let [data, other] = ["not/yet/there", "other"].map(|name| parent.path().join(name));
        let first = DataLock::take(&data).unwrap();
        let _of_another_folder = DataLock::take(&other).unwrap();
        let error = DataLock::take(&data).err().unwrap();
        assert!(error.contains(&format!("{:?}", data.display())), "{error}");
        drop(first);
        assert!(DataLock::take(&data).is_ok());
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_no_error() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for folder in [file.path().join("data"), "/proc/fanfare".into()] {
            assert!(DataLock::take(&folder).is_ok(), "{}", folder.display());
        }
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_locked() {
        let data = tempfile::tempdir().unwrap();
        std::fs::set_permissions(data.path(), Permissions::from_mode(0o500)).unwrap();
        let _first = DataLock::take(data.path()).unwrap();
        assert!(DataLock::take(data.path()).is_err());
    }
}
