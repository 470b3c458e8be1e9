//! Warns at the start of everything that the configuration allows to strangers.

use fanfare_core::policy::RoomAccess;
use fanfare_engine::Mounting;

use super::settings;
use crate::config::{Config, Registration};

/// The facts that a warning depends on, besides the configuration.
pub(super) struct Exposure<'a> {
    pub(super) config: &'a Config,
    /// Whether this server issues tokens, so that an account is worth something.
    pub(super) issues_tokens: bool,
    pub(super) has_keys: bool,
}

impl Exposure<'_> {
    /// Logs one line for each open feature.
    pub(super) fn warn(&self) {
        for open in self.list() {
            tracing::warn!("open: {open}");
        }
    }

    fn list(&self) -> Vec<String> {
        let auth = &self.config.auth;
        let mut open = Vec::new();
        if auth.registration == Registration::Open && self.issues_tokens {
            let rooms = match settings::rooms(self.config) {
                RoomAccess::Authenticated => " and room",
                RoomAccess::Nobody => "",
            };
            open.push(format!(
                "anyone may register, and then use every channel{rooms} that no access rule closes: auth.registration = \
                 \"closed\" forbids it"
            ));
        }
        if auth.allowed_origins.iter().any(|origin| origin == "*") {
            open.push(
                "a web page of any origin may connect and call: auth.allowed_origins names the pages that may".to_owned(),
            );
        }
        let is_served = |mounting: &&Mounting| {
            let serves = |name| self.config.listener.iter().any(|listener| listener.serves(name));
            mounting.kind.everywhere || serves(mounting.kind.name)
        };
        let dialects = settings::dialects(self.config);
        let served = dialects.iter().filter(is_served);
        let to_anyone = served.filter_map(|mounting| mounting.dialect.open_to_anyone());
        open.extend(to_anyone.map(|what| format!("anyone may {what}")));
        open.extend(self.on_this_machine());
        open
    }

    fn on_this_machine(&self) -> Option<String> {
        let Config { api, resp, .. } = self.config;
        if !api.trust_loopback || !api.keys.is_empty() || self.has_keys {
            return None;
        }
        let door = if resp.bind.is_some() && resp.password.is_none() {
            ", and publish by the Redis protocol"
        } else {
            ""
        };
        Some(format!(
            "any program on this machine may use the service API without a key{door}: an API key, or api.trust_loopback = \
             false, forbids it"
        ))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::config::{Sources, load};

    /// Returns the beginnings of the warnings in a profile with these settings.
    fn open(profile: &str, overrides: &[(&str, &str)], has_keys: bool) -> Vec<String> {
        let overrides = overrides
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let sources = Sources {
            profile: Some(profile.to_owned()),
            overrides: overrides.collect(),
            ..Sources::default()
        };
        let config = load(&sources, fanfare_dialects::REGISTRY).unwrap().config;
        let exposure = Exposure {
            config: &config,
            issues_tokens: true,
            has_keys,
        };
        let words = |text: String| text.split_whitespace().take(4).collect::<Vec<_>>().join(" ");
        exposure.list().into_iter().map(words).collect()
    }

    const SECRET: (&str, &str) = ("auth.jwt_secret", "0123456789abcdef0123456789abcdef");
    const PAGES: (&str, &str) = ("auth.allowed_origins", "https://app.example.com");
    const REGISTER: &str = "anyone may register, and";
    const ORIGINS: &str = "a web page of";
    const ANONYMOUS: &str = "anyone may subscribe to";
    const READ: &str = "anyone may read every";
    const MACHINE: &str = "any program on this";

    #[test]
    fn by_default() {
        assert_eq!(
            open("default", &[], false),
            [REGISTER, ORIGINS, ANONYMOUS, READ, MACHINE]
        );
        assert_eq!(open("notify", &[], false), [REGISTER, ORIGINS, READ, MACHINE]);
        assert_eq!(open("default", &[], true), [REGISTER, ORIGINS, ANONYMOUS, READ]);
    }

    #[test]
    fn each_key_closes_its_own() {
        for (key, value, left) in [
            ("auth.registration", "closed", [ORIGINS, ANONYMOUS, READ, MACHINE]),
            (PAGES.0, PAGES.1, [REGISTER, ANONYMOUS, READ, MACHINE]),
            (
                "realtime.require_auth",
                "true",
                [REGISTER, ORIGINS, READ, MACHINE],
            ),
            (
                "stream.require_auth",
                "true",
                [REGISTER, ORIGINS, ANONYMOUS, MACHINE],
            ),
            (
                "realtime.required_roles",
                "staff",
                [REGISTER, ORIGINS, READ, MACHINE],
            ),
            (
                "api.trust_loopback",
                "false",
                [REGISTER, ORIGINS, ANONYMOUS, READ],
            ),
            (
                "api.keys",
                "0123456789abcdef",
                [REGISTER, ORIGINS, ANONYMOUS, READ],
            ),
        ] {
            assert_eq!(open("default", &[(key, value)], false), left, "{key}");
        }
    }

    #[test]
    fn production_is_closed_and_each_key_opens_its_own() {
        assert_eq!(open("production", &[SECRET, PAGES], false), [""; 0]);
        for (key, value, opened) in [
            ("auth.registration", "open", REGISTER),
            (PAGES.0, "*", ORIGINS),
            ("realtime.require_auth", "false", ANONYMOUS),
            ("stream.require_auth", "false", READ),
            ("api.trust_loopback", "true", MACHINE),
        ] {
            assert_eq!(
                open("production", &[SECRET, PAGES, (key, value)], false),
                [opened],
                "{key}"
            );
        }
    }
}
