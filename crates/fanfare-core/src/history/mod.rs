//! History: which events are kept, where one is among all that are, and how a client that was away asks for what it missed.
//!
//! One counter numbers everything that is kept, over all audiences; each kept event also knows the number before it *of its audience*
//! ([`Position::prev`]). So one [`Cursor`] resumes any number of subscriptions, and whether it can be honoured does not depend on its
//! own event being kept still: an audience is complete after a cursor if its last number is at most the cursor's, or if its oldest
//! kept event after the cursor has a `prev` that is at most the cursor's.

mod cursor;
mod resume;
mod retention;

pub use cursor::{BadCursor, Cursor, Epoch};
pub use resume::{RESERVED_TYPES, Resumption, Since, Unrecovered};
pub use retention::{History, MAX_HISTORY_SIZE, MAX_HISTORY_TTL, Position, REPLAY_LIMIT, Retention};
