//! History: the retention of events, their positions, and a client's request for missed events.
//!
//! One counter numbers the kept events of all audiences. Each kept event also has the number of the event before it in its
//! audience ([`Position::prev`]). So one [`Cursor`] resumes any number of subscriptions, even if its event is no longer kept.
//! An audience is complete after a cursor in two cases: its last number is at most the cursor's, or its oldest kept event
//! after the cursor has a `prev` of at most the cursor's number.

mod cursor;
mod resume;
mod retention;

pub use cursor::{BadCursor, Cursor, Epoch};
pub use resume::{RESERVED_TYPES, Resumption, Since, Unrecovered};
pub use retention::{
    History, MAX_HISTORY_SIZE, MAX_HISTORY_TTL, MAX_HISTORY_TTL_MS, Position, REPLAY_LIMIT, Retention,
};
