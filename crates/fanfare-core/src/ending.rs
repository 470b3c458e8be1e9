//! The expected ways in which Fanfare says no, in words of its own. Each dialect puts them in its protocol's words;
//! none may match with a wildcard, so that a new one does not compile until every dialect has chosen.

/// Declares a closed enum whose variants have a word for logs and metric labels.
macro_rules! labelled {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $label:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $($(#[$variant_doc])* $variant,)* }

        impl $name {
            /// Every one.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The word for it in logs and metric labels.
            pub fn label(self) -> &'static str {
                match self { $(Self::$variant => $label,)* }
            }
        }
    };
}

labelled! {
    /// Why a connection is not let in.
    Refusal {
        /// No credential was offered, and this dialect needs one.
        MissingCredential = "missing_credential",
        /// The credential is malformed, forged, not yet valid, or there is more than one.
        BadCredential = "bad_credential",
        /// The credential was good once.
        ExpiredCredential = "expired_credential",
        /// The credential cannot be judged: the keys could not be fetched.
        KeysUnavailable = "keys_unavailable",
        /// The credential is good and does not suffice.
        Forbidden = "forbidden",
        /// The name that the client gives itself is too long or has control characters.
        BadName = "bad_name",
        /// Another connection has the name that the client gives itself.
        NameTaken = "name_taken",
        /// The dialect holds as many connections as it may.
        AtCapacity = "at_capacity",
        /// The client's address holds as many as it may.
        AddressAtCapacity = "address_at_capacity",
        /// The user holds as many as it may.
        UserAtCapacity = "user_at_capacity",
        /// The client's address came more often than it may.
        RateLimited = "rate_limited",
        /// The server drains.
        ShuttingDown = "shutting_down",
    }
}

labelled! {
    /// Why a connection that was let in is ended by the server.
    Ending {
        /// The credential's time is over.
        TokenExpired = "token_expired",
        /// Its queue is full: it reads more slowly than it is sent to.
        SlowConsumer = "slow_consumer",
        /// Nothing was heard of it for the dialect's ping timeout.
        PingTimeout = "ping_timeout",
        /// It sent more messages than it may for longer than is put up with.
        RateLimited = "rate_limited",
        /// The login session that its credential belongs to was terminated.
        SessionTerminated = "session_terminated",
        /// An administrator closed it.
        Dismissed = "dismissed",
        /// The server drains.
        ShuttingDown = "shutting_down",
        /// Something of ours failed while serving this connection.
        InternalError = "internal_error",
    }
}

labelled! {
    /// Why what a conversation asked for was not done.
    Denial {
        /// The credential is malformed, forged or not yet valid.
        BadCredential = "bad_credential",
        /// The credential was good once.
        ExpiredCredential = "expired_credential",
        /// The credential cannot be judged: the keys could not be fetched.
        KeysUnavailable = "keys_unavailable",
        /// The credential is another user's than the one this connection proved to be.
        OtherUser = "other_user",
        /// The user holds as many connections as it may.
        UserAtCapacity = "user_at_capacity",
        /// The access rules say no.
        Forbidden = "forbidden",
        /// The connection has as many subscriptions as it may.
        TooManySubscriptions = "too_many_subscriptions",
        /// The connection is not in that room.
        NotMember = "not_member",
        /// The event's type is one that a server uses itself.
        ReservedType = "reserved_type",
        /// The user is not connected.
        NotConnected = "not_connected",
    }
}
