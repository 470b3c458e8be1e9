//! History: which events are kept, the position of each, and how a client requests the events that it missed.
//!
//! One counter numbers the kept events of all audiences; each kept event also has the number before it *of its
//! audience* ([`Position::prev`]). So one [`Cursor`] resumes any number of subscriptions, and works even if its own
//! event is no longer kept: an audience is complete after a cursor if its last number is at most the cursor's, or if
//! its oldest kept event after the cursor has a `prev` that is at most the cursor's.

mod cursor;
mod resume;
mod retention;

pub use cursor::{BadCursor, Cursor, Epoch};
pub use resume::{RESERVED_TYPES, Resumption, Since, Unrecovered};
pub use retention::{
    History, MAX_HISTORY_SIZE, MAX_HISTORY_TTL, MAX_HISTORY_TTL_MS, Position, REPLAY_LIMIT, Retention,
};
