//! The token secret that the server generates at its first start.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand::TryRngCore as _;
use rustix::fs::Access;

use crate::private_file;

pub(crate) const SECRET_FILE_NAME: &str = "jwt-secret";

/// Random bytes in a new secret; base64url makes 64 characters of them.
const RANDOM_BYTES: usize = 48;
/// A shorter file was cut off, or is not a secret.
const MIN_BYTES: usize = 32;
/// A longer file is not a secret.
const MAX_BYTES: usize = 4096;

#[derive(Clone, PartialEq, Eq)]
pub(crate) struct SecretFile {
    /// The file's content without line ends. Other programs use the same text as their `JWT_SECRET_KEY`.
    pub(crate) secret: Vec<u8>,
    pub(crate) created: bool,
    pub(crate) path: PathBuf,
}

impl fmt::Debug for SecretFile {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("SecretFile").field(&self.path).finish()
    }
}

pub(crate) fn secret_file(data_dir: &Path) -> PathBuf {
    data_dir.join(SECRET_FILE_NAME)
}

/// Reads the secret in `data_dir`, or generates one (mode 0600) if there is none. Processes that start at the same time
/// agree on one secret, and a crash or a full disk never leaves half of one. A file that others may read is used, with a
/// warning. An existing file is never overwritten: an unreadable, empty or cut-off one is an error. Errors name the file or the
/// folder.
pub(crate) fn load_or_create_secret(data_dir: &Path) -> Result<SecretFile, String> {
    let path = secret_file(data_dir);
    if let Some(secret) = read(&path)? {
        return Ok(SecretFile {
            secret,
            created: false,
            path,
        });
    }
    private_file::make_folder(data_dir).map_err(|error| no_folder(data_dir, &error))?;
    let text = random_text()?;
    let created = write_new(&path, text.as_bytes(), |from, to| fs::hard_link(from, to));
    let created = created.map_err(|error| {
        let path = path.display();
        format!("a new token secret cannot be written to {path}: {error}")
    })?;
    // Read back in both cases: the next start must find the same.
    let secret = read(&path)?.ok_or_else(|| unreadable(&path, &ErrorKind::NotFound.into()))?;
    Ok(SecretFile {
        secret,
        created,
        path,
    })
}

/// Returns the secret that [`load_or_create_secret`] would return, but writes nothing: in place of a secret that it would
/// generate, it returns a sample. Fails if the data folder could not be made or written.
pub(crate) fn secret_to_be(data_dir: &Path) -> Result<SecretFile, String> {
    let path = secret_file(data_dir);
    let found = read(&path)?;
    if found.is_none() {
        can_be_made(data_dir).map_err(|error| no_folder(data_dir, &error))?;
    }
    let secret = found.map_or_else(|| random_text().map(String::into_bytes), Ok)?;
    Ok(SecretFile {
        secret,
        created: false,
        path,
    })
}

fn no_folder(folder: &Path, error: &io::Error) -> String {
    format!("the data folder {} cannot be made: {error}", folder.display())
}

fn unreadable(path: &Path, error: &io::Error) -> String {
    format!("the token secret {} cannot be read: {error}", path.display())
}

/// Checks that this process may write in a folder, or create it if it is missing.
fn can_be_made(folder: &Path) -> io::Result<()> {
    let folder = std::path::absolute(folder)?;
    for ancestor in folder.ancestors() {
        match fs::metadata(ancestor) {
            Ok(found) if found.is_dir() => {
                return Ok(rustix::fs::access(ancestor, Access::WRITE_OK | Access::EXEC_OK)?);
            }
            Ok(_) => return Err(ErrorKind::NotADirectory.into()),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Err(ErrorKind::NotFound.into())
}

/// Reads the secret in a file; `None` if there is no file.
fn read(path: &Path) -> Result<Option<Vec<u8>>, String> {
    let failed = |error| unreadable(path, &error);
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let mode = file.metadata().map_err(failed)?.permissions().mode();
    if mode & 0o077 != 0 {
        tracing::warn!(path = %path.display(), mode = format!("{:04o}", mode & 0o7777),
            "other users may access the token secret; its mode should be 0600");
    }
    let mut secret = Vec::new();
    let mut file = file.take(MAX_BYTES as u64 + 1);
    file.read_to_end(&mut secret).map_err(failed)?;
    let bytes = secret.len();
    while secret.last().is_some_and(|byte| matches!(byte, b'\n' | b'\r')) {
        secret.pop(); // an editor has added it
    }
    if secret.len() < MIN_BYTES || bytes > MAX_BYTES {
        let path = path.display(); // 4097 bytes stand for more
        return Err(format!(
            "{path} holds {bytes} bytes, which is no token secret (32 to 4096 bytes). Restore it from a backup, or delete it: \
             the next start makes a new one, and all tokens signed with the old one end"
        ));
    }
    Ok(Some(secret))
}

fn random_text() -> Result<String, String> {
    let mut bytes = [0; RANDOM_BYTES];
    let filled = rand::rngs::OsRng.try_fill_bytes(&mut bytes);
    filled.map_err(|error| format!("no random numbers from the system for a new token secret: {error}"))?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

/// Creates a file, whole or not at all. Returns `false` if another process was faster.
///
/// A link, not a rename: a rename would replace the secret that another process has just begun to use.
fn write_new(path: &Path, content: &[u8], link: impl Fn(&Path, &Path) -> io::Result<()>) -> io::Result<bool> {
    let temporary = private_file::temporary_beside(path);
    private_file::create(&temporary, content)?;
    let written = match link(&temporary, path) {
        // File systems without hard links: not safe against a crash in the middle, but still only one process wins.
        Err(error) if matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::PermissionDenied) => {
            private_file::create(path, content)
        }
        result => result,
    };
    fs::remove_file(&temporary)?;
    match written {
        Ok(()) => {
            private_file::sync_folder_of(path)?;
            Ok(true)
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs::Permissions;

    use super::*;

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    fn names(folder: &Path) -> Vec<String> {
        let names = fs::read_dir(folder).unwrap();
        names
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    #[test]
    fn makes_one_secret_and_keeps_it() {
        let parent = folder();
        let data = parent.path().join("not/yet/there");
        let first = load_or_create_secret(&data).unwrap();
        assert!(first.created);
        assert_eq!(first.path, data.join(SECRET_FILE_NAME));
        assert_eq!(first.secret.len(), 64);
        assert!(
            first
                .secret
                .iter()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(byte))
        );
        assert_eq!(
            fs::metadata(&first.path).unwrap().permissions().mode() & 0o7777,
            0o600
        );
        assert_eq!(names(&data), [SECRET_FILE_NAME], "no temporary file is left");

        let second = load_or_create_secret(&data).unwrap();
        assert!(!second.created);
        assert_eq!(second.secret, first.secret);
        assert_ne!(
            load_or_create_secret(&parent.path().join("other"))
                .unwrap()
                .secret,
            first.secret
        );
        assert!(!format!("{first:?}").contains(std::str::from_utf8(&first.secret).unwrap()));
    }

    #[test]
    fn processes_that_start_at_once_agree() {
        for _ in 0..20 {
            let data = folder();
            let start = std::sync::Barrier::new(8);
            let found: Vec<SecretFile> = std::thread::scope(|scope| {
                let run = || {
                    start.wait();
                    load_or_create_secret(data.path()).unwrap()
                };
                let threads: Vec<_> = (0..8).map(|_| scope.spawn(run)).collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            assert!(found.iter().all(|file| file.secret == found[0].secret));
            assert_eq!(found.iter().filter(|file| file.created).count(), 1);
            assert_eq!(names(data.path()), [SECRET_FILE_NAME]);
        }
    }

    #[test]
    fn a_secret_is_made_once_on_a_file_system_without_links() {
        let data = folder();
        let path = data.path().join(SECRET_FILE_NAME);
        let no_link = |_: &Path, _: &Path| Err(ErrorKind::PermissionDenied.into());
        assert!(write_new(&path, b"first", no_link).unwrap());
        assert!(!write_new(&path, b"second", no_link).unwrap());
        assert_eq!(fs::read(&path).unwrap(), b"first");
        assert_eq!(names(data.path()), [SECRET_FILE_NAME]);
    }

    #[test]
    fn a_failure_leaves_nothing_behind() {
        let data = folder();
        let path = data.path().join(SECRET_FILE_NAME);
        let full = |_: &Path, _: &Path| Err(ErrorKind::StorageFull.into());
        let error = write_new(&path, b"secret", full).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StorageFull);
        assert!(names(data.path()).is_empty());
    }

    #[test]
    fn an_invalid_secret_is_an_error_and_is_not_overwritten() {
        for content in [&b""[..], b"\n", b"cut off", &[b'x'; 31], &[b'x'; MAX_BYTES + 1]] {
            let data = folder();
            let path = data.path().join(SECRET_FILE_NAME);
            fs::write(&path, content).unwrap();
            let error = load_or_create_secret(data.path()).unwrap_err();
            let holds = format!("holds {} bytes", content.len());
            assert!(error.contains(&holds), "{error}");
            assert!(error.contains("delete it"), "{error}");
            assert_eq!(fs::read(&path).unwrap(), content);
        }
    }

    #[test]
    fn an_existing_secret_is_read_without_line_ends() {
        let data = folder();
        let path = data.path().join(SECRET_FILE_NAME);
        fs::write(&path, format!("{}\r\n", "s".repeat(32))).unwrap();
        // A mode that is too open only causes a warning.
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        let file = load_or_create_secret(data.path()).unwrap();
        assert_eq!(file.secret, [b's'; 32]);
        assert!(!file.created);
    }

    #[test]
    fn errors_name_the_place_and_the_cause() {
        let data = folder();
        fs::create_dir(data.path().join(SECRET_FILE_NAME)).unwrap();
        let error = load_or_create_secret(data.path()).unwrap_err();
        assert!(error.contains("cannot be read"), "{error}");

        let file = data.path().join("a file");
        fs::write(&file, "").unwrap();
        let error = load_or_create_secret(&file.join("data")).unwrap_err();
        assert!(error.contains("a file"), "{error}");

        let error = load_or_create_secret(Path::new("/proc/fanfare")).unwrap_err();
        assert!(error.contains("cannot be made"), "{error}");
    }
}
