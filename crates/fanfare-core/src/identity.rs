//! The verified identity of a connection.

use std::time::SystemTime;

use serde_json::Value;

use crate::{Pattern, UserId, unix_millis};

/// The role of admins, who may call the service API and receive private events.
pub const ADMIN_ROLE: &str = "admin";

/// The claims of a verified credential that Fanfare uses.
#[derive(Debug, Clone, PartialEq)]
pub struct Identity {
    /// The user.
    pub user: UserId,
    /// The display name, if it differs from the id.
    pub username: Option<Box<str>>,
    /// Whether the credential writes the id as a number.
    pub numeric: bool,
    /// The expiry of the credential, in milliseconds since 1970.
    pub expires_at_ms: u64,
    /// The login session of the credential.
    pub session: Option<Box<str>>,
    /// The user's roles.
    pub roles: Box<[Box<str>]>,
    /// The rooms that the credential opens; `None` if it has no such claim.
    pub rooms: Option<Box<[Pattern]>>,
    /// The other claims that access rules use.
    pub claims: Box<[(Box<str>, Value)]>,
    /// Whether it is a backend. Access rules do not apply to it, and it may read every channel.
    pub is_service: bool,
}

impl Identity {
    /// Returns the identity of `user` until `expires_at`, without further claims.
    pub fn new(user: UserId, expires_at: SystemTime) -> Self {
        Self {
            user,
            username: None,
            numeric: false,
            expires_at_ms: unix_millis(expires_at),
            session: None,
            roles: Box::default(),
            rooms: None,
            claims: Box::default(),
            is_service: false,
        }
    }

    /// Returns the identity of a backend with the name of its API key. It ends when a session of this name is revoked.
    pub fn service(key: UserId, expires_at: SystemTime) -> Self {
        Self {
            session: Some((&*key).into()),
            roles: [ADMIN_ROLE.into()].into(),
            is_service: true,
            ..Self::new(key, expires_at)
        }
    }

    /// Returns `true` if the credential has expired at `now`.
    pub fn has_expired(&self, now: SystemTime) -> bool {
        unix_millis(now) >= self.expires_at_ms
    }

    /// Returns the username, else the id.
    pub fn name(&self) -> &str {
        self.username.as_deref().unwrap_or(&self.user)
    }

    /// Returns `true` if the user has `role`.
    pub fn has_role(&self, role: &str) -> bool {
        self.roles.iter().any(|own| **own == *role)
    }

    /// Returns `true` if the user is an admin.
    pub fn is_admin(&self) -> bool {
        self.has_role(ADMIN_ROLE)
    }

    /// Returns the value of a kept claim.
    pub fn claim(&self, name: &str) -> Option<&Value> {
        self.claims
            .iter()
            .find(|(own, _)| **own == *name)
            .map(|(_, value)| value)
    }
}
