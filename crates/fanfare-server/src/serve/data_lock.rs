//! The lock on the data folder, so that two servers do not use the same database and secret.

use std::{fs::File, path::Path};

use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};

use crate::private_file;

/// Locks the folder until the returned file is dropped, and creates it if it is missing. The system releases the lock when the
/// process ends. Fails if another server has the lock. Returns `None` if this server may not create or lock the folder: then
/// it stores nothing there.
pub(super) fn lock(data_dir: &Path) -> Result<Option<File>, String> {
    let not_locked = |error: &std::io::Error| {
        tracing::debug!(%error, data_dir = %data_dir.display(), "the data folder is not locked");
        Ok(None)
    };
    // A folder has a lock without a file, so a full disk and a root that is read-only do not matter.
    let opened = private_file::make_folder(data_dir).and_then(|()| File::open(data_dir));
    let folder = match opened {
        Ok(folder) => folder,
        Err(error) => return not_locked(&error),
    };
    match flock(&folder, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(folder)),
        Err(Errno::WOULDBLOCK) => Err(format!(
            "another server has data_dir {:?}: stop it, or give this one a data_dir of its own",
            std::path::absolute(data_dir)
                .as_deref()
                .unwrap_or(data_dir)
                .display()
        )),
        Err(error) => not_locked(&error.into()),
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
        let first = lock(&data).unwrap();
        let _of_another_folder = lock(&other).unwrap();
        let error = lock(&data).err().unwrap();
        assert!(error.contains(&format!("{:?}", data.display())), "{error}");
        drop(first);
        assert!(lock(&data).is_ok());
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_no_error() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for folder in [file.path().join("data"), "/proc/fanfare".into()] {
            assert!(lock(&folder).is_ok(), "{}", folder.display());
        }
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_locked() {
        let data = tempfile::tempdir().unwrap();
        std::fs::set_permissions(data.path(), Permissions::from_mode(0o500)).unwrap();
        let _first = lock(data.path()).unwrap();
        assert!(lock(data.path()).is_err());
    }
}
