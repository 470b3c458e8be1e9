//! `PUBSUB` and its subcommands: the channels with subscribers, and their counts.

use fanfare_cluster::wire;

use crate::resp::{glob, request::Request, session::Session};

/// The longest pattern, in bytes. No name that it could match is longer.
const MAX_PATTERN: usize = 1024;
/// The most bytes that a name takes in a reply besides its own.
const REPLY_OVERHEAD: usize = 16;

/// `PUBSUB CHANNELS [pattern]`: the channels with a listener. An audience that has several names is listed once, by the
/// first of them that the pattern matches.
pub(super) fn channels(session: &mut Session<'_>, request: &Request) {
    let pattern = request.get(2).unwrap_or(b"*");
    if request.len() > 3 {
        let error = "ERR unknown subcommand or wrong number of arguments for 'CHANNELS'. Try PUBSUB HELP.";
        return session.writer.error(error);
    }
    if pattern.len() > MAX_PATTERN {
        return session.writer.error("ERR the pattern is too long");
    }
    let options = &session.door.options;
    let matches = |name: &String| glob::matches(pattern, name.as_bytes());
    let audiences = options.host.audiences();
    let names = audiences
        .iter()
        .filter_map(|audience| wire::redis_names(audience).find(matches));
    let events = Some(wire::EVENTS.to_owned()).filter(|name| options.host.listeners(name) > 0);
    let (mut found, mut bytes) = (Vec::new(), 0);
    for name in names.chain(events.filter(matches)) {
        bytes += name.len() + REPLY_OVERHEAD;
        if bytes > options.max_message {
            let error = "ERR the reply would be longer than resp.max_message_size: narrow the pattern";
            return session.writer.error(error);
        }
        found.push(name);
    }
    session.writer.array(found.len());
    for name in found {
        session.writer.bulk(name);
    }
}

/// `PUBSUB NUMSUB [channel …]`: each channel with the number of connections that would receive an event there. Connections
/// with only a matching pattern are not counted.
pub(super) fn numsub(session: &mut Session<'_>, request: &Request) {
    let host = &*session.door.options.host;
    session.writer.array(2 * (request.len() - 2));
    for channel in request.args(2) {
        let name = std::str::from_utf8(channel).ok();
        let count = name.map_or(0, |name| host.listeners(name));
        session.writer.bulk(channel);
        session.writer.integer(count);
    }
}

/// `PUBSUB NUMPAT`: the number of different patterns with a subscriber.
pub(super) fn numpat(session: &mut Session<'_>, _request: &Request) {
    session.writer.integer(session.door.options.host.patterns());
}
