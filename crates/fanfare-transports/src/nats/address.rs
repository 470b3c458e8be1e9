//! The URLs of the NATS servers, read and checked without connecting.

use std::{
    path::PathBuf,
    sync::{Arc, OnceLock},
};

use percent_encoding::percent_decode_str;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};
use url::Url;
use uuid::Uuid;

use super::login::{KeyFile, Login};
use crate::{BrokerOptions, OpenError, texts, tls_files::TlsFiles};

const FORM: &str = "expected nats://[user:password@]host[:port], or several with commas between them";
const PORT: u16 = 4222;

/// The NATS servers, any of which can be used.
pub(super) struct Address {
    servers: Vec<ServerAddress>,
    /// The hosts and ports, for the log.
    pub(super) place: String,
    credentials_file: Option<PathBuf>,
    tls_files: TlsFiles,
    tls: OnceLock<Arc<ClientConfig>>,
    /// The server to try first: that of the last connection, so that both connections of a node go to one server.
    pub(super) first: tokio::sync::Mutex<usize>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct ServerAddress {
    pub(super) host: String,
    pub(super) port: u16,
    /// The connection must use TLS.
    pub(super) needs_tls: bool,
    login: Login,
}

impl Address {
    /// Reads the options without connecting.
    ///
    /// # Errors
    /// If a URL or a file is not usable. The error contains no part of a URL, since any part may be a password.
    pub(super) fn new(options: &BrokerOptions) -> Result<Self, OpenError> {
        let servers = options
            .url
            .split(',')
            .map(|url| server(url.trim()).map_err(OpenError::BadUrl));
        let servers = servers.collect::<Result<Vec<_>, _>>()?;
        if let Some(path) = &options.credentials_file {
            KeyFile::read(path).map_err(|reason| OpenError::setting("credentials_file", reason))?;
            if servers.iter().any(|server| server.login != Login::Nothing) {
                return Err(OpenError::BadUrl(
                    "found a user or a password, expected none beside `credentials_file`",
                ));
            }
        }
        let tls_files = TlsFiles::read(options)?;
        let places: Vec<String> = servers.iter().map(ServerAddress::place).collect();
        let start = usize::try_from(Uuid::new_v4().as_u128() % servers.len().max(1) as u128).unwrap_or(0);
        Ok(Self {
            servers,
            place: places.join(", "),
            credentials_file: options.credentials_file.clone(),
            tls_files,
            tls: OnceLock::new(),
            // Nodes that start at the same time do not all connect to one server.
            first: start.into(),
        })
    }

    /// Returns the servers with their numbers in the order in which to try them, beginning with `first`, modulo their count.
    pub(super) fn servers_from(&self, first: usize) -> impl Iterator<Item = (usize, &ServerAddress)> {
        let count = self.servers.len();
        let servers = self.servers.iter().enumerate();
        servers.cycle().skip(first % count.max(1)).take(count)
    }

    /// Adds the address of `server` to an error if there are several servers.
    pub(super) fn with_place(&self, server: &ServerAddress, error: &str) -> String {
        if self.servers.len() == 1 {
            error.to_owned()
        } else {
            format!("{}: {error}", server.place())
        }
    }

    /// Returns the credentials for `server`. The file is read for each connection, so an operator can replace it.
    ///
    /// # Errors
    /// If the file cannot be read, or is no credentials file.
    pub(super) fn login(&self, server: &ServerAddress) -> Result<Login, String> {
        match &self.credentials_file {
            Some(path) => KeyFile::read(path).map(Login::Key),
            None => Ok(server.login.clone()),
        }
    }

    /// Returns the TLS configuration.
    ///
    /// # Errors
    /// If there is no authority to trust.
    pub(super) fn tls(&self) -> Result<Arc<ClientConfig>, String> {
        if let Some(config) = self.tls.get() {
            return Ok(Arc::clone(config));
        }
        let certificates = match &self.tls_files.authorities {
            Some(pem) => CertificateDer::pem_slice_iter(pem).flatten().collect(),
            None => rustls_native_certs::load_native_certs().certs,
        };
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(certificates);
        if roots.is_empty() {
            return Err("this system has no certificates of authorities; set broker.ca_file".to_owned());
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots);
        let client = self.tls_files.client.as_ref();
        let config = match client.and_then(|client| Some((client.chain(), client.key()?))) {
            Some((chain, key)) => config
                .with_client_auth_cert(chain, key)
                .map_err(|error| error.to_string())?,
            None => config.with_no_client_auth(),
        };
        Ok(Arc::clone(self.tls.get_or_init(|| Arc::new(config))))
    }
}

impl ServerAddress {
    fn place(&self) -> String {
        texts::host_and_port(&self.host, self.port)
    }
}

/// Reads one URL.
fn server(url: &str) -> Result<ServerAddress, &'static str> {
    let url = Url::parse(url).map_err(|_| FORM)?;
    let needs_tls = match url.scheme() {
        "nats" => false,
        "tls" => true,
        "ws" | "wss" => return Err("found a WebSocket's scheme, expected `nats` or `tls`"),
        _ => return Err(FORM),
    };
    if url.fragment().is_some() {
        return Err(texts::FRAGMENT);
    }
    if url.query().is_some() {
        return Err("found a query (what follows a `?`), expected none; write a `?` in a password as `%3F`");
    }
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    if host.is_empty() {
        return Err("found no host, expected nats://host[:port]");
    }
    if !url.path().trim_matches('/').is_empty() {
        return Err("found a path, expected none; write a `/` in a password as `%2F`");
    }
    let text = |part| {
        percent_decode_str(part)
            .decode_utf8()
            .map(String::from)
            .map_err(|_| FORM)
    };
    let login = match (url.username(), url.password()) {
        ("", None) => Login::Nothing,
        (token, None) => Login::Token(text(token)?),
        (user, Some(password)) => Login::Password {
            user: text(user)?,
            password: text(password)?,
        },
    };
    Ok(ServerAddress {
        host: text(host)?,
        port: url.port().unwrap_or(PORT),
        needs_tls,
        login,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn options(url: &str) -> BrokerOptions {
        BrokerOptions {
            url: url.to_owned(),
            ..BrokerOptions::default()
        }
    }

    #[test]
    fn good_urls_are_read() {
        let password = |user: &str, password: &str| Login::Password {
            user: user.to_owned(),
            password: password.to_owned(),
        };
        for (url, host, port, needs_tls, login) in [
            ("nats://h", "h", 4222, false, Login::Nothing),
            ("nats://h/", "h", 4222, false, Login::Nothing),
            ("tls://[::1]:7", "::1", 7, true, Login::Nothing),
            ("nats://u:p%23%2C%40@h:1", "h", 1, false, password("u", "p#,@")),
            (
                "nats://t0ken@h",
                "h",
                4222,
                false,
                Login::Token("t0ken".to_owned()),
            ),
            ("nats://u:@h", "h", 4222, false, Login::Token("u".to_owned())),
        ] {
            let expected = ServerAddress {
                host: host.to_owned(),
                port,
                needs_tls,
                login,
            };
            assert_eq!(server(url), Ok(expected), "{url}");
        }
        let several = Address::new(&options("nats://a, tls://b:1,nats://[::1]")).unwrap();
        assert_eq!(several.place, "a:4222, b:1, [::1]:4222");
    }

    #[test]
    fn bad_urls_are_refused_without_their_text() {
        for (url, expected) in [
            ("nats://u:s3cret@ss#x@h", "fragment"),
            ("nats://u:s3cret?a@h", "FORM"),
            ("nats://h?s3cret", "a query"),
            ("nats://h?tls=s3cret", "a query"),
            ("nats://h/s3cret", "a path"),
            ("nats://h,", "FORM"),
            ("nats://u:s3,cret@h", "FORM"),
            ("nats://a,b", "FORM"),
            ("wss://u:s3cret@h", "WebSocket"),
            ("redis://u:s3cret@h", "FORM"),
            ("nats:s3cret", "no host"),
            ("nats:///", "no host"),
            ("s3cret", "FORM"),
            ("", "FORM"),
        ] {
            let error = Address::new(&options(url)).err().unwrap().to_string();
            let expected = if expected == "FORM" { FORM } else { expected };
            assert!(error.contains(expected), "{url}: {error}");
            assert!(!error.contains("s3cret"), "{url}: {error}");
        }
    }

    #[test]
    fn bad_files_are_refused_without_their_text() {
        let folder = tempfile::tempdir().unwrap();
        let (none, empty) = (folder.path().join("none"), folder.path().join("empty"));
        std::fs::write(&empty, "s3cret").unwrap();
        for (ca_file, credentials_file, name, reason) in [
            (Some(&none), None, "ca_file", "cannot be read"),
            (Some(&empty), None, "ca_file", "no certificate"),
            (None, Some(&none), "credentials_file", "cannot read"),
            (None, Some(&empty), "credentials_file", "found no key"),
        ] {
            let options = BrokerOptions {
                ca_file: ca_file.cloned(),
                credentials_file: credentials_file.cloned(),
                ..options("nats://h")
            };
            let Some(OpenError::BadSetting {
                name: found,
                reason: text,
            }) = Address::new(&options).err()
            else {
                panic!("{name}: {reason}");
            };
            assert_eq!(found, name);
            assert!(text.contains(reason) && !text.contains("s3cret"), "{text}");
        }
    }

    #[test]
    fn the_last_server_is_tried_first() {
        let address = Address::new(&options("nats://a,nats://b,nats://c")).unwrap();
        let hosts = |first| {
            let servers = address.servers_from(first);
            servers.map(|(_, server)| &*server.host).collect::<Vec<_>>()
        };
        assert_eq!(hosts(2), ["c", "a", "b"]);
        let (next, _) = address.servers_from(2).nth(1).unwrap();
        assert_eq!(hosts(next), ["a", "b", "c"]);
        assert_eq!(hosts(3), ["a", "b", "c"]);
    }
}
