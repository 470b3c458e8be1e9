//! The reasons for which the server refuses a connection, denies a command, or ends a connection. Each dialect maps them
//! to its texts and codes without a wildcard arm, so a new variant does not compile until every dialect has a text.

/// Declares an enum with a label of each variant, for logs and metrics.
macro_rules! labelled {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $label:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $($(#[$variant_doc])* $variant,)* }

        impl $name {
            /// Every variant.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// Returns the label for logs and metrics.
            pub fn label(self) -> &'static str {
                match self { $(Self::$variant => $label,)* }
            }
        }
    };
}
pub(crate) use labelled;

labelled! {
    /// The reason why the server refuses a connection.
    Refusal {
        /// The client has no credential, and the dialect requires one.
        MissingCredential = "missing_credential",
        /// The credential is malformed, forged or not yet valid, or the request has more than one.
        BadCredential = "bad_credential",
        /// The credential has expired.
        ExpiredCredential = "expired_credential",
        /// The credential cannot be verified, because the keys have not been fetched.
        KeysUnavailable = "keys_unavailable",
        /// The credential is valid, but lacks a required right.
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
    /// The reason why the server ends an open connection.
    Ending {
        /// The credential expired.
        TokenExpired = "token_expired",
        /// The send queue is full, because the client reads too slowly.
        SlowConsumer = "slow_consumer",
        /// The client has sent nothing during the dialect's ping timeout.
        PingTimeout = "ping_timeout",
        /// The client has exceeded its rate of messages for too long.
        RateLimited = "rate_limited",
        /// The login session of its credential was terminated.
        SessionTerminated = "session_terminated",
        /// An administrator closed it.
        Dismissed = "dismissed",
        /// The server drains.
        ShuttingDown = "shutting_down",
        /// The server failed at this connection.
        InternalError = "internal_error",
    }
}

impl Ending {
    /// Returns the close code and reason of most protocols.
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

    /// Returns `true` if the client is likely to reconnect, because it did not expect the end.
    pub fn is_loss(self) -> bool {
        matches!(self, Self::PingTimeout | Self::SlowConsumer | Self::InternalError)
    }
}

labelled! {
    /// The reason why the server denies a command of a conversation.
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
