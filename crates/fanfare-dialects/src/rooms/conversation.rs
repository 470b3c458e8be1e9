//! One connection: its messages become commands, and their outcomes replies.

use std::{borrow::Cow, mem, sync::Arc, time::Duration};

use fanfare_core::{
    Audience, Channel, Command, Context, Conversation, Converse, Denial, Draft, Ending, Identity, Outcome,
    RawJson, Receives, Reception, Right, Step, Steps, history::Since,
};

use super::{
    FORBIDDEN, Rooms,
    errors::{FrameError, denied},
    frames::{Frame, read, room_named},
    render,
};

impl Converse for Rooms {
    fn converse(&self, _name: Option<&str>) -> Box<dyn Conversation> {
        Box::<Client>::default()
    }

    fn receives(&self) -> Reception {
        Reception::both(Receives::Always)
    }

    fn leave_grace(&self) -> Duration {
        self.leave_grace
    }
}

#[derive(Default)]
pub(super) struct Client {
    user: Option<Arc<Identity>>,
    pending: Pending,
}

/// The requests of the handshake that are not answered yet.
struct PendingOpening {
    /// The rooms to join, the last one first.
    rooms: Vec<Box<str>>,
    since: Option<Since>,
    /// The room of the open command; `None` if the open command requests the missed events.
    joining: Option<Channel>,
    /// The replies so far. They follow the welcome, which waits for the answer to the resume.
    replies: Steps,
}

/// The open command, and the values for its reply.
#[derive(Default)]
enum Pending {
    #[default]
    Nothing,
    Join(Channel),
    Leave(Channel),
    Send(Channel),
    Open(Box<PendingOpening>),
}

impl Conversation for Client {
    fn opened(&mut self, context: &Context<'_>, steps: &mut Steps) {
        self.user = context.identity.cloned();
        let Some(opening) = context.opening else {
            return steps.extend(self.welcome(context));
        };
        if opening.resume.is_none() {
            steps.extend(self.welcome(context));
        }
        let pending = PendingOpening {
            rooms: opening.names.iter().rev().cloned().collect(),
            since: opening.resume,
            joining: None,
            replies: Steps::new(),
        };
        self.open_next(Box::new(pending), context, steps);
    }

    fn text(&mut self, text: &str, context: &Context<'_>, steps: &mut Steps) {
        match read(text) {
            Ok(frame) => self.act(frame, context, steps),
            Err(frame_error) => refuse(&frame_error, context, steps),
        }
    }

    fn answered(&mut self, answer: Result<Outcome, Denial>, context: &Context<'_>, steps: &mut Steps) {
        match mem::take(&mut self.pending) {
            Pending::Open(mut opening) => match opening.joining.take() {
                Some(room) => {
                    reply(Pending::Join(room), answer, context, &mut opening.replies);
                    self.open_next(opening, context, steps);
                }
                None => self.finish_opening(*opening, context, steps),
            },
            pending => reply(pending, answer, context, steps),
        }
    }

    fn limited(&mut self, context: &Context<'_>, steps: &mut Steps) {
        send_error("Rate limit exceeded", context, steps);
    }
}

impl Client {
    fn welcome(&self, context: &Context<'_>) -> Option<Step> {
        let user = self.user.as_ref()?;
        Some(Step::text(render::connected(user, context)))
    }

    /// Joins the next room of the handshake. After the last one, requests the missed events of all.
    fn open_next(&mut self, mut opening: Box<PendingOpening>, context: &Context<'_>, steps: &mut Steps) {
        let is_closed = |step: &Step| matches!(step, Step::Close(..));
        while !opening.replies.iter().any(is_closed) {
            let command = match opening.rooms.pop().map(|name| room_named(&name)) {
                Some(Err(problem)) => {
                    refuse(&problem, context, &mut opening.replies);
                    continue;
                }
                Some(Ok(room)) => {
                    opening.joining = Some(room.clone());
                    Command::Join {
                        room,
                        wants_members: false,
                        resume: None,
                    }
                }
                None => match opening.since {
                    Some(since) => Command::Resume(since),
                    None => break,
                },
            };
            steps.push(Step::Ask(command));
            self.pending = Pending::Open(opening);
            return;
        }
        self.finish_opening(*opening, context, steps);
    }

    /// Sends the replies to the requests of the handshake.
    fn finish_opening(&mut self, opening: PendingOpening, context: &Context<'_>, steps: &mut Steps) {
        if opening.since.is_some() {
            steps.extend(self.welcome(context));
        }
        steps.extend(opening.replies);
    }

    fn act(&mut self, frame: Frame<'_>, context: &Context<'_>, steps: &mut Steps) {
        match frame {
            Frame::Ping => {
                steps.extend([Step::text(render::pong(context.now)), Step::Pinged]);
            }
            Frame::Join(room, wants_members, resume) => {
                let command = Command::Join {
                    room: room.clone(),
                    wants_members,
                    resume,
                };
                steps.push(Step::Ask(command));
                self.pending = Pending::Join(room);
            }
            Frame::Leave(room) => {
                steps.push(Step::Ask(Command::Leave(room.clone())));
                self.pending = Pending::Leave(room);
            }
            Frame::Send(room, message) => {
                let user = self.user.as_ref();
                let Some(data) = user.and_then(|user| render::message_data(&message, user)) else {
                    return steps.push(Step::End(Ending::InternalError));
                };
                steps.push(publish(&room, data));
                self.pending = Pending::Send(room);
            }
        }
    }
}

fn reply(pending: Pending, answer: Result<Outcome, Denial>, context: &Context<'_>, steps: &mut Steps) {
    match (pending, answer) {
        (Pending::Join(room), Ok(outcome)) => {
            let members = match outcome {
                Outcome::Joined { members } => members,
                _ => None,
            };
            steps.push(Step::text(render::joined_room(&room, members, context)));
        }
        (Pending::Leave(room), Ok(_)) => {
            steps.push(Step::text(render::left_room(&room, context.now)));
        }
        (Pending::Join(room), Err(denial)) => {
            send_error(&denied(denial, &room), context, steps);
            if denial == Denial::Forbidden {
                steps.push(close_forbidden());
            }
        }
        (Pending::Leave(room) | Pending::Send(room), Err(denial)) => {
            send_error(&denied(denial, &room), context, steps);
        }
        // The sender receives its own message as an event.
        (Pending::Send(_) | Pending::Nothing | Pending::Open(_), Ok(_))
        | (Pending::Nothing | Pending::Open(_), Err(_)) => {}
    }
}

fn publish(room: &Channel, data: RawJson) -> Step {
    let draft = Draft {
        to: Audience::Channel(room.clone()),
        kind: Some(render::MESSAGE.into()),
        data,
        metadata: None,
        right: Right::Member,
        echo: true,
    };
    Step::Ask(Command::Publish(draft))
}

fn refuse(frame_error: &FrameError<'_>, context: &Context<'_>, steps: &mut Steps) {
    send_error(&frame_error.message(), context, steps);
    if matches!(frame_error, FrameError::UsersRoom) {
        steps.push(close_forbidden());
    }
}

fn send_error(message: &str, context: &Context<'_>, steps: &mut Steps) {
    steps.push(Step::text(render::error(message, context.now)));
}

fn close_forbidden() -> Step {
    Step::Close(FORBIDDEN.0, Cow::Borrowed(FORBIDDEN.1))
}
