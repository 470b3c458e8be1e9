//! Why Fanfare refuses a connection or a command, and why it ends a connection. Each dialect maps these to its texts and
//! codes without a wildcard arm, so that a new variant does not compile until every dialect has chosen.

/// Declares a closed enum whose variants have a label for logs and metrics.
macro_rules! labelled {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $label:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $($(#[$variant_doc])* $variant,)* }

        impl $name {
            /// Every variant.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// Its label in logs and metrics.
            pub fn label(self) -> &'static str {
                match self { $(Self::$variant => $label,)* }
            }
        }
    };
}
pub(crate) use labelled;

labelled! {
    /// Why a connection is refused.
    Refusal {
        /// The client offered no credential, and this dialect needs one.
        MissingCredential = "missing_credential",
        /// The credential is malformed, forged or not yet valid, or the request has more than one.
        BadCredential = "bad_credential",
        /// The credential has expired.
        ExpiredCredential = "expired_credential",
        /// The credential cannot be verified, because the keys have not been fetched.
        KeysUnavailable = "keys_unavailable",
        /// The credential is valid and lacks a required right.
        Forbidden = "forbidden",
        /// The client's name is too long or has control characters.
        BadName = "bad_name",
        /// Another connection has the client's name.
        NameTaken = "name_taken",
        /// The dialect has its maximum of connections.
        AtCapacity = "at_capacity",
        /// The client's address has its maximum of connections.
        AddressAtCapacity = "address_at_capacity",
        /// The user has its maximum of connections.
        UserAtCapacity = "user_at_capacity",
        /// The client's address exceeds its rate of handshakes.
        RateLimited = "rate_limited",
        /// The server drains.
        ShuttingDown = "shutting_down",
    }
}

labelled! {
    /// Why the server ends a connection that it admitted.
    Ending {
        /// The credential expired.
        TokenExpired = "token_expired",
        /// Its send queue is full: the client reads too slowly.
        SlowConsumer = "slow_consumer",
        /// The client sent nothing for the dialect's ping timeout.
        PingTimeout = "ping_timeout",
        /// The client exceeded its rate of messages for too long.
        RateLimited = "rate_limited",
        /// The login session of its credential was terminated.
        SessionTerminated = "session_terminated",
        /// An administrator closed it.
        Dismissed = "dismissed",
        /// The server drains.
        ShuttingDown = "shutting_down",
        /// An internal error while serving this connection.
        InternalError = "internal_error",
    }
}

impl Ending {
    /// Returns the close code and reason that most protocols have for it.
    pub fn close(self) -> (u16, &'static str) {
        match self {
            Self::TokenExpired => (1008, "token expired"),
            Self::SlowConsumer => (1008, "slow consumer"),
            Self::PingTimeout => (1008, "ping timeout"),
            Self::RateLimited => (1008, "rate limit exceeded"),
            Self::SessionTerminated => (1008, "session terminated"),
            Self::Dismissed => (1008, "closed by an administrator"),
            Self::ShuttingDown => (1001, "Server shutting down"),
            Self::InternalError => (1011, "internal error"),
        }
    }

    /// Returns whether the client is likely to reconnect: it may not know that its connection has ended, or neither
    /// side decided to end it.
    pub fn is_loss(self) -> bool {
        matches!(self, Self::PingTimeout | Self::SlowConsumer | Self::InternalError)
    }
}

labelled! {
    /// Why the server denied a conversation's command.
    Denial {
        /// The credential is malformed, forged or not yet valid.
        BadCredential = "bad_credential",
        /// The credential has expired.
        ExpiredCredential = "expired_credential",
        /// The credential cannot be verified, because the keys have not been fetched.
        KeysUnavailable = "keys_unavailable",
        /// The credential belongs to another user than the connection's.
        OtherUser = "other_user",
        /// The user has its maximum of connections.
        UserAtCapacity = "user_at_capacity",
        /// The access policy refuses it.
        Forbidden = "forbidden",
        /// The connection has its maximum of subscriptions.
        TooManySubscriptions = "too_many_subscriptions",
        /// The connection has not joined that room.
        NotMember = "not_member",
        /// The event's type is reserved for the server.
        ReservedType = "reserved_type",
        /// The user is not connected.
        NotConnected = "not_connected",
    }
}
