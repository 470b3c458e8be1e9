//! The expected ways in which Fanfare says no, in words of its own. Each dialect puts them in its protocol's words;
//! none may match with a wildcard, so that a new one does not compile until every dialect has chosen.

/// Why a connection is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// No credential was offered, and this dialect needs one.
    MissingCredential,
    /// The credential is malformed, forged, expired, not yet valid, or there is more than one.
    BadCredential,
    /// The dialect holds as many connections as it may.
    AtCapacity,
    /// The client's address holds as many as it may.
    AddressAtCapacity,
    /// The user holds as many as it may.
    UserAtCapacity,
    /// The client's address came more often than it may.
    RateLimited,
    /// The server drains.
    ShuttingDown,
}

/// Why a connection that was let in is ended by the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The credential's time is over.
    TokenExpired,
    /// Its queue is full: it reads more slowly than it is sent to.
    SlowConsumer,
    /// Nothing was heard of it for the dialect's ping timeout.
    PingTimeout,
    /// The server drains.
    ShuttingDown,
    /// Something of ours failed while serving this connection.
    InternalError,
}

impl Ending {
    /// The word for it in logs and metric labels.
    pub fn label(self) -> &'static str {
        match self {
            Self::TokenExpired => "token_expired",
            Self::SlowConsumer => "slow_consumer",
            Self::PingTimeout => "ping_timeout",
            Self::ShuttingDown => "shutting_down",
            Self::InternalError => "internal_error",
        }
    }
}

impl Refusal {
    /// The word for it in logs and metric labels.
    pub fn label(self) -> &'static str {
        match self {
            Self::MissingCredential => "missing_credential",
            Self::BadCredential => "bad_credential",
            Self::AtCapacity => "at_capacity",
            Self::AddressAtCapacity => "address_at_capacity",
            Self::UserAtCapacity => "user_at_capacity",
            Self::RateLimited => "rate_limited",
            Self::ShuttingDown => "shutting_down",
        }
    }
}
