//! Performs the steps of conversations, and passes the answers to them.

use std::{panic::AssertUnwindSafe, rc::Rc};

use fanfare_core::{Entered, EntryTicket, Message, Steps};
use futures_util::FutureExt;

use super::{
    Shard,
    commands::{self, CommandState},
    connection::DriverAction,
    replay,
    turn::{self, Turn},
    work,
};

pub(super) fn perform(turn: &mut Turn<'_>, steps: Steps) {
    for step in steps {
        turn.totals.work += work::of_step(&step);
        let action = turn.driver.connection.perform(step, turn.codec, turn.moment);
        match action {
            None => {}
            Some(DriverAction::Send(frame)) => turn.driver.queue_answer(frame, turn.moment),
            Some(DriverAction::Run(command)) => {
                let doing = commands::begin(turn, command);
                continue_command(turn, doing);
            }
        }
    }
}

/// Continues a command as far as possible. If it must wait, a task continues it, and nothing is read from the client meanwhile.
fn continue_command(turn: &mut Turn<'_>, mut doing: CommandState) {
    loop {
        doing = match doing {
            CommandState::AwaitsReport | CommandState::Closed => return,
            CommandState::Reported => return continue_replay(turn),
            CommandState::Answered(answer) => {
                let steps = turn.driver.connection.answered(answer, turn.moment);
                perform(turn, steps);
                return continue_replay(turn);
            }
            CommandState::Switched(text) => {
                let moment = turn.moment;
                let steps = turn.connection().opened(moment);
                perform(turn, steps);
                let steps = turn.connection().message(Message::Text(&text), moment);
                return perform(turn, steps);
            }
            CommandState::Waiting(mut work) => match work.as_mut().now_or_never() {
                Some(next) => next(turn),
                None => return continue_later(turn, work),
            },
        }
    }
}

/// Reports an interruption, or sends waiting items, unless another command is open.
fn continue_replay(turn: &mut Turn<'_>) {
    let connection = turn.connection();
    if connection.is_asked() {
        return; // the conversation answered with another command
    }
    if connection.take_interruption() {
        let doing = commands::report_interruption(turn);
        return continue_command(turn, doing);
    }
    if connection.is_replaying() {
        advance(turn);
    }
}

/// Sends waiting items; returns `false` if none could be sent. After the last, notifies the conversation.
pub(super) fn advance(turn: &mut Turn<'_>) -> bool {
    let is_sent = replay::advance(turn);
    if turn.connection().is_open() && !turn.connection().is_holding() {
        let moment = turn.moment;
        let steps = turn.connection().caught_up(moment);
        perform(turn, steps);
    }
    is_sent
}

fn continue_later(turn: &mut Turn<'_>, work: impl Future<Output = commands::Continuation> + 'static) {
    turn.connection().begin_command();
    let (shard, key) = (turn.shard.clone(), turn.key);
    tokio::task::spawn_local(async move {
        let done = AssertUnwindSafe(work).catch_unwind().await;
        turn::run(&shard, key, |turn| {
            let moment = turn.moment;
            turn.connection().end_command(moment);
            turn.driver.wake(); // its task may read again after this turn
            match done {
                Ok(next) if turn.connection().is_open() => {
                    let doing = next(turn);
                    continue_command(turn, doing);
                }
                Ok(_) => {}
                Err(_) => turn.driver.end_after_panic(moment),
            }
        });
    });
}

/// Begins the conversation. Events that are queued already follow its first messages.
pub(super) fn open(turn: &mut Turn<'_>) {
    let moment = turn.moment;
    let connection = turn.connection();
    if !connection.is_open() {
        return; // it was ended before, and its close frame is queued
    }
    let queued = connection.take_queued();
    let steps = connection.opened(moment);
    perform(turn, steps);
    let connection = turn.connection();
    connection.put_back(queued);
    connection.forget_opening();
    // The handshake asked to resume, and the conversation did not.
    if !connection.is_asked() && connection.is_holding() && !connection.is_replaying() {
        connection.release();
    }
}

/// Switches the connection to another dialect, whose first message is `text`.
pub(super) fn switch_dialect(turn: &mut Turn<'_>, text: Box<str>) {
    let doing = commands::switch_dialect(turn, text);
    continue_command(turn, doing);
}

/// Completes the entry that the broker reports. If its connection has ended meanwhile, leaves the room.
pub(super) fn entered(shard: &Rc<Shard>, ticket: EntryTicket, entered: Entered) {
    let Some(mut pending) = shard.entries.borrow_mut().take(ticket) else {
        return;
    };
    // Whether the room counts the connection although it is not a new member.
    let mut is_surplus = true;
    turn::run(shard, pending.key, |turn| {
        if let Some(doing) = commands::entered(turn, &mut pending, entered, &mut is_surplus) {
            continue_command(turn, doing);
        }
    });
    if is_surplus {
        shard.node.broker().leave(pending.room, pending.user);
    }
}

/// Handles the timer, the lapsed credentials and the timeouts that are due.
pub(super) fn handle_timers(turn: &mut Turn<'_>) {
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
