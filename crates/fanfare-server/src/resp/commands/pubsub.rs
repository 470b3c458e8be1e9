//! `PUBSUB` and its subcommands: who would hear what is published.

use crate::resp::{glob, reader::Request, session::Session};

/// Events for a user are published on the channel of this name with the user's id behind it.
const USER: &[u8] = b"user_noti:";
/// The longest pattern, in bytes. No name that it could match is longer.
const MAX_PATTERN: usize = 1024;

/// `PUBSUB CHANNELS [pattern]`: the channels of users who are connected.
pub(super) fn channels(session: &mut Session<'_>, request: &Request) {
    let pattern = request.get(2).unwrap_or(b"*");
    if request.len() > 3 {
        let error = "ERR unknown subcommand or wrong number of arguments for 'CHANNELS'. Try PUBSUB HELP.";
        return session.writer.error(error);
    }
    if pattern.len() > MAX_PATTERN {
        return session.writer.error("ERR the pattern is too long");
    }
    let channels: Vec<Vec<u8>> = session
        .door
        .options
        .host
        .users()
        .iter()
        .map(|user| [USER, user.as_bytes()].concat())
        .filter(|channel| glob::matches(pattern, channel))
        .collect();
    session.writer.array(channels.len());
    for channel in channels {
        session.writer.bulk(channel);
    }
}

/// `PUBSUB NUMSUB [channel …]`: each channel with the connections of its user.
pub(super) fn numsub(session: &mut Session<'_>, request: &Request) {
    let host = &*session.door.options.host;
    session.writer.array(2 * (request.len() - 2));
    for channel in request.args(2) {
        let user = channel
            .strip_prefix(USER)
            .and_then(|user| std::str::from_utf8(user).ok());
        let count = user.map_or(0, |user| host.connections(user));
        session.writer.bulk(channel);
        session.writer.integer(i64::try_from(count).unwrap_or(i64::MAX));
    }
}
