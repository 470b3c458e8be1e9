//! One connection: its messages become commands, and their outcomes replies.

use std::{borrow::Cow, mem, sync::Arc, time::Duration};

use fanfare_core::{
    Audience, Channel, Command, Context, Conversation, Converse, Denial, Draft, Ending, Identity, Outcome,
    RawJson, Receives, Reception, Right, Step, Steps,
};

use super::{
    FORBIDDEN, Rooms,
    errors::{FrameError, denied},
    frames::{Frame, read},
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
}

/// The open command.
#[derive(Default)]
enum Asked {
    #[default]
    Nothing,
    Join(Channel),
    Leave(Channel),
    Send(Channel),
}

impl Conversation for Member {
    fn opened(&mut self, context: &Context<'_>, steps: &mut Steps) {
        self.user = context.identity.cloned();
        if let Some(user) = &self.user {
            steps.push(Step::SendText(render::connected(user, context.now)));
        }
    }

    fn text(&mut self, text: &str, context: &Context<'_>, steps: &mut Steps) {
        match read(text) {
            Ok(frame) => self.act(frame, context, steps),
            Err(frame_error) => {
                send_error(&frame_error.words(), context, steps);
                if matches!(frame_error, FrameError::UsersRoom) {
                    steps.push(send_away());
                }
            }
        }
    }

    fn answered(&mut self, answer: Result<Outcome, Denial>, context: &Context<'_>, steps: &mut Steps) {
        match (mem::take(&mut self.asked), answer) {
            (Asked::Join(room), Ok(outcome)) => {
                let members = match outcome {
                    Outcome::Joined { members } => members,
                    _ => None,
                };
                steps.push(Step::SendText(render::joined_room(&room, members, context.now)));
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
            (Asked::Send(_) | Asked::Nothing, Ok(_)) | (Asked::Nothing, Err(_)) => {}
        }
    }

    fn limited(&mut self, context: &Context<'_>, steps: &mut Steps) {
        send_error("Rate limit exceeded", context, steps);
    }
}

impl Member {
    fn act(&mut self, frame: Frame<'_>, context: &Context<'_>, steps: &mut Steps) {
        match frame {
            Frame::Ping => {
                steps.extend([Step::SendText(render::pong(context.now)), Step::Pinged]);
            }
            Frame::Join(room, wants_members) => {
                let command = Command::Join {
                    room: room.clone(),
                    wants_members,
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

fn send_error(words: &str, context: &Context<'_>, steps: &mut Steps) {
    steps.push(Step::SendText(render::error(words, context.now)));
}

fn send_away() -> Step {
    Step::Close(FORBIDDEN.0, Cow::Borrowed(FORBIDDEN.1))
}
