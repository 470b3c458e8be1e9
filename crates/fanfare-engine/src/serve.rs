//! A connection's own task: reads, calls the conversation, and writes queued frames.

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
    commands::depart,
    connection::{self, Received},
    connections::Key,
    driver::Progress,
    pace::Place,
    perform,
    seat::Seat,
    turn::{self, Turn},
    work,
};

impl Seat {
    /// Gives the connection its socket after the reply to its upgrade, and spawns the task that serves it to its end. `leftover`
    /// are the client's bytes behind its request.
    pub fn serve(self, transport: Transport, leftover: &[u8]) {
        turn::take(&self.shard, self.key, |turn| {
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
        tokio::task::spawn_local(Service { seat: self, turn });
    }
}

/// Serves a connection to its end. An `async fn` would make the task of an idle connection three times as large.
pub(super) struct Service {
    seat: Seat,
    turn: NextTurn,
}

/// What a connection's task waits for, besides its socket and its shard.
#[derive(Clone, Copy)]
enum NextTurn {
    /// Nothing.
    Free,
    /// Its place among the connections of a later pass.
    Paced(Place),
    /// Its place among the connections that have recently caused much work. It waits for a whole turn.
    Busy(Place),
}

impl Future for Service {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Self { seat, turn } = &mut *self;
        let shard = &seat.shard;
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
            match poll(shard, seat.key, cx, called) {
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

/// One turn of a connection's task: looks at its socket until there is nothing more or the turn's work is done. A connection that
/// was `called` has the whole turn, whatever it owes.
fn poll(shard: &Rc<Shard>, key: Key, cx: &mut Context<'_>, called: bool) -> Progress {
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
        let looked = catch_unwind(AssertUnwindSafe(|| look(&mut turn, buffer, cx, called)));
        let (done, driver) = (work::LOOK + turn.done.work, turn.driver);
        work += done;
        driver.debt.add(done, moment.ms);
        match looked {
            Ok(Progress::Again) => {}
            Ok(progress) => return progress,
            Err(_) if !driver.connection.is_open() => return Progress::Over,
            Err(_) => driver.failed(moment),
        }
    }
    Progress::Spent
}

fn look(turn: &mut Turn<'_>, buffer: &mut [u8], cx: &mut Context<'_>, called: bool) -> Progress {
    if let Some(progress) = turn.driver.poll_write(cx, turn.moment) {
        return progress;
    }
    if !turn.connection().is_open() {
        depart(turn.shard, turn.key, &mut turn.driver.connection, turn.moment);
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
    if !called && turn.driver.debt.is_large(turn.moment.ms) {
        return Progress::Spent;
    }
    // The answers to the client's messages follow earlier events.
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

/// Passes the connection bytes from its client. Returns how many of them, at the end, must wait: for other connections' turns, for
/// the client to read its answers, or for an answer.
pub(super) fn receive(turn: &mut Turn<'_>, bytes: &mut [u8]) -> usize {
    let mut input = Input::new(bytes);
    while turn.connection().is_readable() {
        let own = &mut turn.driver.connection;
        match connection::receive(own, &mut input, turn.codec, turn.moment, &mut turn.done) {
            Received::Nothing => break,
            Received::Ping(pong) => _ = turn.driver.queue(pong, turn.moment),
            Received::Steps(steps) => perform::perform(turn, steps),
            Received::Foreign(text) => perform::adopt(turn, text),
        }
        if turn.connection().is_waiting() || turn.done.work >= work::TURN || is_congested(turn) {
            break;
        }
    }
    if let Some(pong) = turn.done.take_pong() {
        turn.driver.queue(pong, turn.moment);
    }
    flush(turn);
    // Bytes behind its end have no meaning.
    if turn.connection().is_readable() {
        input.rest().len()
    } else {
        0
    }
}

/// As [`super::driver::Driver::is_congested`], but publishes events before their acknowledgements are written.
fn is_congested(turn: &mut Turn<'_>) -> bool {
    if turn.connection().is_congested() {
        turn.shard.publisher.place();
    }
    turn.driver.is_congested()
}

/// Writes queued frames. Events are published before their acknowledgements are written.
fn flush(turn: &mut Turn<'_>) {
    if !turn.connection().is_outbox_empty() {
        turn.shard.publisher.place();
    }
    turn.driver.flush_or_wake();
}
