//! The task of a connection: reads, calls the conversation, and writes queued frames.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    rc::Rc,
    sync::atomic::Ordering::Relaxed,
    task::{Context, Poll},
};

use bytes::BytesMut;
use fanfare_ws::Input;

use super::{
    Shard, Transport,
    commands::deregister,
    connection::{self, Received},
    connection_guard::ConnectionGuard,
    connections::Key,
    driver::Progress,
    pace::Place,
    perform,
    turn::{self, Turn},
    work,
};

impl ConnectionGuard {
    /// Sets the connection's socket after the reply to its upgrade, and spawns the task that serves it to its end. `leftover` are
    /// the client's bytes behind its request.
    pub fn serve(self, transport: Transport, leftover: &[u8]) {
        turn::run(&self.shard, self.key, |turn| {
            let connection = turn.connection();
            let mounted = connection.mounted();
            mounted.counters.opened.fetch_add(1, Relaxed);
            tracing::debug!(
                connection = connection.number,
                dialect = mounted.name,
                user = connection.subscriber.identity.as_ref().map(|identity| tracing::field::debug(&identity.user)),
                address = %connection.admission.address(),
                "connection opened"
            );
            turn.driver.attach(transport, leftover);
            if !turn.connection().has_begun() {
                perform::open(turn);
            }
        });
        let turn = NextTurn::Free;
        tokio::task::spawn_local(Service { guard: self, turn });
    }
}

/// The future that serves a connection to its end. An `async fn` would make the task of an idle connection three times as large.
pub(super) struct Service {
    guard: ConnectionGuard,
    turn: NextTurn,
}

/// The queue in which a connection's task waits for its turn.
#[derive(Clone, Copy)]
enum NextTurn {
    /// None.
    Free,
    /// The queue of the connections that are ready.
    Paced(Place),
    /// The queue of the connections that have recently caused much work. It waits for a whole turn.
    Busy(Place),
}

impl Future for Service {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Self { guard, turn } = &mut *self;
        let shard = &guard.shard;
        loop {
            let called = match *turn {
                NextTurn::Free => match shard.pace.enter(cx) {
                    Some(place) => {
                        *turn = NextTurn::Paced(place);
                        return Poll::Pending;
                    }
                    None => false,
                },
                NextTurn::Paced(place) if shard.pace.has_called(place) => false,
                NextTurn::Busy(place) if shard.busy.has_called(place) => true,
                NextTurn::Paced(_) | NextTurn::Busy(_) => return Poll::Pending,
            };
            *turn = NextTurn::Free;
            match run_turn(shard, guard.key, cx, called) {
                Progress::Over => return Poll::Ready(()),
                Progress::Spent if !called => {
                    *turn = NextTurn::Busy(shard.busy.join(cx));
                    return Poll::Pending;
                }
                Progress::Wait if !called => return Poll::Pending,
                Progress::Again | Progress::Spent | Progress::Wait => {}
            }
        }
    }
}

/// Runs one turn of a connection's task: polls its socket until there is nothing to do or the turn's work is used up. A connection
/// that was `called` has the whole turn, without regard to its recent work.
fn run_turn(shard: &Rc<Shard>, key: Key, cx: &mut Context<'_>, called: bool) -> Progress {
    let (mut work, moment) = (0, shard.node.now()); // a turn is short
    while work < work::TURN {
        let mut connections = shard.connections.borrow_mut();
        let Some(driver) = connections.at(key) else {
            return Progress::Over;
        };
        driver.register(cx.waker());
        let tools = &mut *shard.tools.borrow_mut();
        let mut turn = Turn::new(shard, (key, driver), &mut tools.codec, moment);
        let buffer = &mut tools.read_buffer;
        // A panic in a dialect or in the server's code must end only this connection.
        let polled = catch_unwind(AssertUnwindSafe(|| poll_once(&mut turn, buffer, cx, called)));
        let (done, driver) = (work::POLL + turn.totals.work, turn.driver);
        work += done;
        driver.recent_work.add(done, moment.ms);
        match polled {
            Ok(Progress::Again) => {}
            Ok(progress) => return progress,
            Err(_) if !driver.connection.is_open() => return Progress::Over,
            Err(_) => driver.end_after_panic(moment),
        }
    }
    Progress::Spent
}

fn poll_once(turn: &mut Turn<'_>, buffer: &mut [u8], cx: &mut Context<'_>, called: bool) -> Progress {
    if let Some(progress) = turn.driver.poll_write(cx, turn.moment) {
        return progress;
    }
    if !turn.connection().is_open() {
        deregister(turn.shard, turn.key, &mut turn.driver.connection, turn.moment);
        turn.driver.end_stream();
    }
    if turn.connection().is_gone() {
        return Progress::Over;
    }
    if turn.connection().is_replaying() && perform::advance(turn) {
        return Progress::Again;
    }
    if !turn.driver.poll_read(cx) {
        return Progress::Wait;
    }
    if !called && turn.driver.recent_work.is_large(turn.moment.ms) {
        return Progress::Spent;
    }
    // Earlier events precede the answers to the client's messages.
    turn.catch_up();
    if let Some(mut unread) = turn.driver.take_unread() {
        let rest = receive(turn, &mut unread);
        turn.driver.keep_unread(unread, rest);
    } else if let Some(bytes) = turn.driver.read(buffer, turn.moment) {
        let rest = receive(turn, &mut buffer[..bytes]);
        if rest > 0 {
            let unread = Box::new(BytesMut::from(&buffer[bytes - rest..bytes]));
            turn.driver.keep_unread(unread, rest);
        }
    } else if turn.connection().is_gone() {
        return Progress::Over;
    }
    Progress::Again
}

/// Passes the client's bytes to the connection. Returns the number of bytes, at the end, that must wait: for other connections'
/// turns, for the client to read its answers, or for the answer to a command.
pub(super) fn receive(turn: &mut Turn<'_>, bytes: &mut [u8]) -> usize {
    let mut input = Input::new(bytes);
    while turn.connection().is_readable() {
        let own = &mut turn.driver.connection;
        match connection::receive(own, &mut input, turn.codec, turn.moment, &mut turn.totals) {
            Received::Nothing => break,
            Received::Ping(pong) => _ = turn.driver.queue(pong, turn.moment),
            Received::Steps(steps) => perform::perform(turn, steps),
            Received::OtherDialect(text) => perform::switch_dialect(turn, text),
        }
        if turn.connection().is_waiting() || turn.totals.work >= work::TURN || is_congested(turn) {
            break;
        }
    }
    if let Some(pong) = turn.totals.take_pong() {
        turn.driver.queue(pong, turn.moment);
    }
    flush(turn);
    // After the end of the connection, further bytes are ignored.
    if turn.connection().is_readable() {
        input.rest().len()
    } else {
        0
    }
}

/// Calls [`super::driver::Driver::is_congested`], after it has published the events whose acknowledgements are queued.
fn is_congested(turn: &mut Turn<'_>) -> bool {
    if turn.connection().is_congested() {
        turn.shard.publisher.publish_gathered();
    }
    turn.driver.is_congested()
}

/// Writes queued frames, after it has published the events whose acknowledgements are queued.
fn flush(turn: &mut Turn<'_>) {
    if !turn.connection().is_outbox_empty() {
        turn.shard.publisher.publish_gathered();
    }
    turn.driver.flush_or_wake();
}
