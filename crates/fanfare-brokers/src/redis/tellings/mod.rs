//! Notices to all nodes: each hears each once and in order, though what Redis publishes reaches only who listens just then.
//!
//! A node numbers what it tells and keeps the latest of it. Whoever hears a notice out of turn has missed some, and says
//! so to the one who told it; and a node that listens anew says to all what it has heard and what it has told
//! ([`Control::Hello`]). The answer is what is missing, on the way of all else that is told, so that it stays in order. What
//! comes a second time is known by its number. Nothing is taken as sent until Redis has confirmed it.

mod book;
mod send;

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use bytes::Bytes;
use tokio::sync::Notify;

use super::control::{Hello, Place};
use book::Book;

pub(super) use send::run;

/// See the module's words.
pub(super) struct Tellings {
    book: Mutex<Book>,
    /// Told when there is something to send.
    work: Notify,
}

impl Tellings {
    pub(super) fn new(node_id: &str) -> Self {
        Self {
            book: Mutex::new(Book::new(node_id, rand::random(), Instant::now())),
            work: Notify::new(),
        }
    }

    /// Has the other nodes hear `notice`. How many had to be dropped to make room that others have not been told.
    pub(super) fn tell(&self, notice: Bytes) -> usize {
        let dropped = self.book().tell(notice, Instant::now());
        self.work.notify_one();
        dropped
    }

    /// This node listens now, and may have missed something before.
    pub(super) fn connected(&self) {
        self.book().greet_all();
        self.work.notify_one();
    }

    /// A notice came, or word that none is missing; whether it is this node's turn to hear it.
    pub(super) fn hear(&self, place: &Place) -> bool {
        let is_next = self.book().hear(place, Instant::now());
        if !is_next {
            self.work.notify_one();
        }
        is_next
    }

    /// Another node listens anew, or has missed something.
    pub(super) fn meet(&self, hello: &Hello) {
        self.book().meet(hello, Instant::now());
        self.work.notify_one();
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
