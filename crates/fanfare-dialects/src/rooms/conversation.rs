//! One connection: its messages become commands, and their outcomes replies.

use std::{borrow::Cow, mem, sync::Arc, time::Duration};

use fanfare_core::{
    Audience, Channel, Command, Context, Conversation, Converse, Denial, Draft, Ending, Identity, Outcome,
    RawJson, Receives, Reception, Right, Step, Steps, history::Since,
};

use super::{
    FORBIDDEN, Rooms,
    errors::{FrameError, denied},
    frames::{Frame, named, read},
    render,
};

impl Converse for Rooms {
    fn converse(&self, _name: Option<&str>) -> Box<dyn Conversation> {
        Box::<Member>::default()
    }

    fn receives(&self) -> Reception {
        Reception::both(Receives::Always)
    }

    fn leave_grace(&self) -> Duration {
        self.leave_grace
    }
}

/// A connection of this dialect.
#[derive(Default)]
pub(super) struct Member {
    /// The connection's user.
    user: Option<Arc<Identity>>,
    asked: Asked,
    /// What is left of what its client asked for in the handshake.
    arrival: Option<Box<Arrival>>,
}

/// A client that asked for rooms, or for what it missed, in its handshake.
struct Arrival {
    /// The rooms that are not joined yet, the last one first.
    rooms: Vec<Box<str>>,
    since: Option<Since>,
    /// The answers so far: the client receives them behind the welcome, which waits until it is known what it missed.
    replies: Steps,
}

/// The open command.
#[derive(Default)]
enum Asked {
    #[default]
    Nothing,
    Join(Channel),
    Leave(Channel),
    Send(Channel),
    /// What was missed of all that was joined in the handshake.
    Resume,
}

impl Conversation for Member {
    fn opened(&mut self, context: &Context<'_>, steps: &mut Steps) {
        self.user = context.identity.cloned();
        let Some(opening) = context.opening else {
            return steps.extend(self.welcome(context));
        };
        if opening.resume.is_none() {
            steps.extend(self.welcome(context));
        }
        self.arrival = Some(Box::new(Arrival {
            rooms: opening.rooms.iter().rev().cloned().collect(),
            since: opening.resume,
            replies: Steps::new(),
        }));
        self.arrive(context, steps);
    }

    fn text(&mut self, text: &str, context: &Context<'_>, steps: &mut Steps) {
        match read(text) {
            Ok(frame) => self.act(frame, context, steps),
            Err(frame_error) => refuse(&frame_error, context, steps),
        }
    }

    fn answered(&mut self, answer: Result<Outcome, Denial>, context: &Context<'_>, steps: &mut Steps) {
        if let Asked::Resume = self.asked {
            self.asked = Asked::Nothing;
            return self.arrived(context, steps);
        }
        let mut replies = Steps::new();
        self.settle(answer, context, &mut replies);
        match &mut self.arrival {
            None => steps.extend(replies),
            Some(arrival) => {
                arrival.replies.extend(replies);
                self.arrive(context, steps);
            }
        }
    }

    fn limited(&mut self, context: &Context<'_>, steps: &mut Steps) {
        send_error("Rate limit exceeded", context, steps);
    }
}

impl Member {
    fn welcome(&self, context: &Context<'_>) -> Option<Step> {
        let user = self.user.as_ref()?;
        Some(Step::SendText(render::connected(user, context)))
    }

    /// Joins the next room of the handshake. After the last one, asks for what was missed of all.
    fn arrive(&mut self, context: &Context<'_>, steps: &mut Steps) {
        while let Some(arrival) = &mut self.arrival {
            let is_over = arrival.replies.iter().any(|step| matches!(step, Step::Close(..)));
            let Some(name) = arrival.rooms.pop().filter(|_| !is_over) else {
                match arrival.since.filter(|_| !is_over) {
                    Some(since) => {
                        self.asked = Asked::Resume;
                        steps.push(Step::Ask(Command::Resume(since)));
                    }
                    None => self.arrived(context, steps),
                }
                return;
            };
            match named(&name) {
                Ok(room) => {
                    steps.push(Step::Ask(Command::Join {
                        room: room.clone(),
                        wants_members: false,
                        resume: None,
                    }));
                    self.asked = Asked::Join(room);
                    return;
                }
                Err(problem) => refuse(&problem, context, &mut arrival.replies),
            }
        }
    }

    /// All that the handshake asked for is known.
    fn arrived(&mut self, context: &Context<'_>, steps: &mut Steps) {
        let Some(arrival) = self.arrival.take() else {
            return;
        };
        if arrival.since.is_some() {
            steps.extend(self.welcome(context));
        }
        steps.extend(arrival.replies);
    }

    fn settle(&mut self, answer: Result<Outcome, Denial>, context: &Context<'_>, steps: &mut Steps) {
        match (mem::take(&mut self.asked), answer) {
            (Asked::Join(room), Ok(outcome)) => {
                let members = match outcome {
                    Outcome::Joined { members } => members,
                    _ => None,
                };
                steps.push(Step::SendText(render::joined_room(&room, members, context)));
            }
            (Asked::Leave(room), Ok(_)) => {
                steps.push(Step::SendText(render::left_room(&room, context.now)));
            }
            (Asked::Join(room), Err(denial)) => {
                send_error(&denied(denial, &room), context, steps);
                if denial == Denial::Forbidden {
                    steps.push(send_away());
                }
            }
            (Asked::Leave(room) | Asked::Send(room), Err(denial)) => {
                send_error(&denied(denial, &room), context, steps);
            }
            // The sender receives its own message as an event.
            (Asked::Send(_) | Asked::Nothing | Asked::Resume, Ok(_))
            | (Asked::Nothing | Asked::Resume, Err(_)) => {}
        }
    }

    fn act(&mut self, frame: Frame<'_>, context: &Context<'_>, steps: &mut Steps) {
        match frame {
            Frame::Ping => {
                steps.extend([Step::SendText(render::pong(context.now)), Step::Pinged]);
            }
            Frame::Join(room, wants_members, resume) => {
                let command = Command::Join {
                    room: room.clone(),
                    wants_members,
                    resume,
                };
                steps.push(Step::Ask(command));
                self.asked = Asked::Join(room);
            }
            Frame::Leave(room) => {
                steps.push(Step::Ask(Command::Leave(room.clone())));
                self.asked = Asked::Leave(room);
            }
            Frame::Send(room, said) => {
                let data = self
                    .user
                    .as_ref()
                    .and_then(|user| render::message_data(&said, user));
                let Some(data) = data else {
                    return steps.push(Step::End(Ending::InternalError));
                };
                steps.push(publish(&room, data));
                self.asked = Asked::Send(room);
            }
        }
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
    send_error(&frame_error.words(), context, steps);
    if matches!(frame_error, FrameError::UsersRoom) {
        steps.push(send_away());
    }
}

fn send_error(words: &str, context: &Context<'_>, steps: &mut Steps) {
    steps.push(Step::SendText(render::error(words, context.now)));
}

fn send_away() -> Step {
    Step::Close(FORBIDDEN.0, Cow::Borrowed(FORBIDDEN.1))
}
