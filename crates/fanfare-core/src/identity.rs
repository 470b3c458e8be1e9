//! Who a connection proved to be.

use std::time::SystemTime;

use serde_json::Value;

use crate::{Pattern, UserId};

/// The role of those who may do what a service may, and who see private events.
pub const ADMIN_ROLE: &str = "admin";

/// What a verified credential says of its bearer.
#[derive(Debug, Clone, PartialEq)]
pub struct Identity {
    /// The user.
    pub user: UserId,
    /// What to call the user, where that is something else than the id.
    pub username: Option<Box<str>>,
    /// Whether the credential writes the id as a number.
    pub numeric: bool,
    /// When the credential ends, and the connection with it.
    pub expires_at: SystemTime,
    /// The login session that the credential belongs to.
    pub session: Option<Box<str>>,
    /// The user's roles.
    pub roles: Box<[Box<str>]>,
    /// The rooms the credential opens; `None` where it says nothing of rooms.
    pub rooms: Option<Box<[Pattern]>>,
    /// Those of the credential's other claims that access rules ask for.
    pub claims: Box<[(Box<str>, Value)]>,
}

impl Identity {
    /// `user` until `expires_at`, of whom nothing else is known.
    pub fn new(user: UserId, expires_at: SystemTime) -> Self {
        Self {
            user,
            username: None,
            numeric: false,
            expires_at,
            session: None,
            roles: Box::default(),
            rooms: None,
            claims: Box::default(),
        }
    }

    /// What to call the user: the username, else the id.
    pub fn name(&self) -> &str {
        self.username.as_deref().unwrap_or(&self.user)
    }

    /// Whether the user has `role`.
    pub fn has_role(&self, role: &str) -> bool {
        self.roles.iter().any(|own| **own == *role)
    }

    /// Whether the user is an admin.
    pub fn is_admin(&self) -> bool {
        self.has_role(ADMIN_ROLE)
    }

    /// The value of one of the kept claims.
    pub fn claim(&self, name: &str) -> Option<&Value> {
        self.claims
            .iter()
            .find(|(own, _)| **own == *name)
            .map(|(_, value)| value)
    }
}
