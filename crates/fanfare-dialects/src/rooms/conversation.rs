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

#[derive(Default)]
pub(super) struct Member {
    user: Option<Arc<Identity>>,
    asked: Asked,
}

struct Arrival {
    /// The rooms that are not joined yet, the last one first.
    rooms: Vec<Box<str>>,
    since: Option<Since>,
    /// The room that is being joined; without one, the missed events are being requested.
    joining: Option<Channel>,
    /// The answers so far: the client receives them after the welcome, which waits until the missed events are known.
    replies: Steps,
}

#[derive(Default)]
enum Asked {
    #[default]
    Nothing,
    Join(Channel),
    Leave(Channel),
    Send(Channel),
    Arrive(Box<Arrival>),
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
        let arrival = Arrival {
            rooms: opening.names.iter().rev().cloned().collect(),
            since: opening.resume,
            joining: None,
            replies: Steps::new(),
        };
        self.arrive(Box::new(arrival), context, steps);
    }

    fn text(&mut self, text: &str, context: &Context<'_>, steps: &mut Steps) {
        match read(text) {
            Ok(frame) => self.act(frame, context, steps),
            Err(frame_error) => refuse(&frame_error, context, steps),
        }
    }

    fn answered(&mut self, answer: Result<Outcome, Denial>, context: &Context<'_>, steps: &mut Steps) {
        match mem::take(&mut self.asked) {
            Asked::Arrive(mut arrival) => match arrival.joining.take() {
                Some(room) => {
                    settle(Asked::Join(room), answer, context, &mut arrival.replies);
                    self.arrive(arrival, context, steps);
                }
                None => self.arrived(*arrival, context, steps),
            },
            asked => settle(asked, answer, context, steps),
        }
    }

    fn limited(&mut self, context: &Context<'_>, steps: &mut Steps) {
        send_error("Rate limit exceeded", context, steps);
    }
}

impl Member {
    fn welcome(&self, context: &Context<'_>) -> Option<Step> {
        let user = self.user.as_ref()?;
        Some(Step::text(render::connected(user, context)))
    }

    /// Joins the next room of the handshake. After the last one, requests the missed events of all.
    fn arrive(&mut self, mut arrival: Box<Arrival>, context: &Context<'_>, steps: &mut Steps) {
        let is_closed = |step: &Step| matches!(step, Step::Close(..));
        while !arrival.replies.iter().any(is_closed) {
            let command = match arrival.rooms.pop().map(|name| named(&name)) {
                Some(Err(problem)) => {
                    refuse(&problem, context, &mut arrival.replies);
                    continue;
                }
                Some(Ok(room)) => {
                    arrival.joining = Some(room.clone());
                    Command::Join {
                        room,
                        wants_members: false,
                        resume: None,
                    }
                }
                None => match arrival.since {
                    Some(since) => Command::Resume(since),
                    None => break,
                },
            };
            steps.push(Step::Ask(command));
            self.asked = Asked::Arrive(arrival);
            return;
        }
        self.arrived(*arrival, context, steps);
    }

    /// All requests of the handshake are answered.
    fn arrived(&mut self, arrival: Arrival, context: &Context<'_>, steps: &mut Steps) {
        if arrival.since.is_some() {
            steps.extend(self.welcome(context));
        }
        steps.extend(arrival.replies);
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
                self.asked = Asked::Join(room);
            }
            Frame::Leave(room) => {
                steps.push(Step::Ask(Command::Leave(room.clone())));
                self.asked = Asked::Leave(room);
            }
            Frame::Send(room, said) => {
                let user = self.user.as_ref();
                let Some(data) = user.and_then(|user| render::message_data(&said, user)) else {
                    return steps.push(Step::End(Ending::InternalError));
                };
                steps.push(publish(&room, data));
                self.asked = Asked::Send(room);
            }
        }
    }
}

fn settle(asked: Asked, answer: Result<Outcome, Denial>, context: &Context<'_>, steps: &mut Steps) {
    match (asked, answer) {
        (Asked::Join(room), Ok(outcome)) => {
            let members = match outcome {
                Outcome::Joined { members } => members,
                _ => None,
            };
            steps.push(Step::text(render::joined_room(&room, members, context)));
        }
        (Asked::Leave(room), Ok(_)) => {
            steps.push(Step::text(render::left_room(&room, context.now)));
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
        (Asked::Send(_) | Asked::Nothing | Asked::Arrive(_), Ok(_))
        | (Asked::Nothing | Asked::Arrive(_), Err(_)) => {}
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
    steps.push(Step::text(render::error(words, context.now)));
}

fn send_away() -> Step {
    Step::Close(FORBIDDEN.0, Cow::Borrowed(FORBIDDEN.1))
}
