//! Performs the steps of conversations, and passes them the answers.

use std::{panic::AssertUnwindSafe, rc::Rc};

use fanfare_core::{Entered, EntryTicket, Message, Steps};
use futures_util::FutureExt;

use super::{
    Shard,
    commands::{self, Doing},
    connection::Wish,
    replay,
    turn::{self, Turn},
    work,
};

pub(super) fn perform(turn: &mut Turn<'_>, steps: Steps) {
    for step in steps {
        turn.done.work += work::of_step(&step);
        let wish = turn.driver.connection.perform(step, turn.codec, turn.moment);
        match wish {
            None => {}
            Some(Wish::Send(frame)) => turn.driver.queue_answer(frame, turn.moment),
            Some(Wish::Ask(command)) => {
                let doing = commands::begin(turn, command);
                settle(turn, doing);
            }
        }
    }
}

/// Continues a command as far as possible now. If it must wait, a task continues it, and nothing is read from the client meanwhile.
fn settle(turn: &mut Turn<'_>, mut doing: Doing) {
    loop {
        doing = match doing {
            Doing::AwaitsReport | Doing::Closed => return,
            Doing::Reported => return go_on(turn),
            Doing::Answered(answer) => {
                let steps = turn.driver.connection.answered(answer, turn.moment);
                perform(turn, steps);
                return go_on(turn);
            }
            Doing::Adopted(text) => {
                let moment = turn.moment;
                let steps = turn.connection().opened(moment);
                perform(turn, steps);
                let steps = turn.connection().message(Message::Text(&text), moment);
                return perform(turn, steps);
            }
            Doing::Waiting(mut work) => match work.as_mut().now_or_never() {
                Some(next) => next(turn),
                None => return wait(turn, work),
            },
        }
    }
}

/// Sends the items that wait for the connection, if its conversation has its answer.
fn go_on(turn: &mut Turn<'_>) {
    let connection = turn.connection();
    if connection.is_asked() {
        return; // a step after the answer was another command
    }
    if connection.take_interruption() {
        let doing = commands::report_interruption(turn);
        return settle(turn, doing);
    }
    if connection.is_replaying() {
        advance(turn);
    }
}

/// Sends the items that wait for the connection; returns `false` if none could be sent. After the last, calls its conversation.
pub(super) fn advance(turn: &mut Turn<'_>) -> bool {
    let is_sent = replay::advance(turn);
    if turn.connection().is_open() && !turn.connection().is_holding() {
        let moment = turn.moment;
        let steps = turn.connection().caught_up(moment);
        perform(turn, steps);
    }
    is_sent
}

fn wait(turn: &mut Turn<'_>, work: impl Future<Output = commands::Next> + 'static) {
    turn.connection().wait();
    let (shard, key) = (turn.shard.clone(), turn.key);
    tokio::task::spawn_local(async move {
        let done = AssertUnwindSafe(work).catch_unwind().await;
        turn::take(&shard, key, |turn| {
            let moment = turn.moment;
            turn.connection().resume(moment);
            turn.driver.wake(); // its task continues after this turn
            match done {
                Ok(next) if turn.connection().is_open() => {
                    let doing = next(turn);
                    settle(turn, doing);
                }
                Ok(_) => {}
                Err(_) => turn.driver.failed(moment),
            }
        });
    });
}

/// Begins the conversation after the upgrade. Earlier events follow its first messages.
pub(super) fn open(turn: &mut Turn<'_>) {
    let moment = turn.moment;
    let connection = turn.connection();
    if !connection.is_open() {
        return; // it ended before, and its close frame is queued
    }
    let queued = connection.take_queued();
    let steps = connection.opened(moment);
    perform(turn, steps);
    let connection = turn.connection();
    connection.put_back(queued);
    connection.forget_opening();
    // The client asked to resume, and the conversation has not.
    if !connection.is_asked() && connection.is_holding() && !connection.is_replaying() {
        connection.release();
    }
}

/// Switches the connection to another dialect, whose first message is `text`.
pub(super) fn adopt(turn: &mut Turn<'_>, text: Box<str>) {
    let doing = commands::adopt(turn, text);
    settle(turn, doing);
}

/// Completes the entry that the broker reports. If its connection has ended meanwhile, it leaves the room.
pub(super) fn entered(shard: &Rc<Shard>, ticket: EntryTicket, entered: Entered) {
    let Some(mut pending) = shard.entries.borrow_mut().take(ticket) else {
        return;
    };
    // Whether the room counts one connection too many.
    let mut is_surplus = true;
    turn::take(shard, pending.key, |turn| {
        if let Some(doing) = commands::entered(turn, &mut pending, entered, &mut is_surplus) {
            settle(turn, doing);
        }
    });
    if is_surplus {
        shard.node.broker().leave(pending.room, pending.user);
    }
}

/// Does what is due at this time.
pub(super) fn keep_time(turn: &mut Turn<'_>) {
    let moment = turn.moment;
    let was_holding = turn.connection().is_holding();
    let timer = turn.connection().timer(moment);
    let mut was_due = timer.is_some();
    perform(turn, timer.unwrap_or_default());
    if turn.connection().is_open() {
        for channel in commands::lapse(turn) {
            was_due = true;
            let steps = turn.connection().lapsed(&channel, moment);
            perform(turn, steps);
        }
    }
    let timeout = turn.connection().timeout(moment);
    was_due |= timeout.is_some();
    perform(turn, timeout.unwrap_or_default());
    if was_due {
        turn.driver.flush_or_wake();
        let is_released = was_holding && !turn.connection().is_holding();
        if is_released || !turn.connection().is_open() {
            turn.driver.wake(); // it may be read from again
        }
    }
}
