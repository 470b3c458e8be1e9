//! The commands with which every client begins and ends.

use crate::resp::{
    reader::{Request, number},
    session::{Closing, DEFAULT_USER, RefusedCommand, Session},
    writer::Protocol,
};

use super::client::checked_name;

/// The version of Redis that the door behaves like. Clients choose their commands by it.
pub(super) const REDIS_VERSION: &str = "7.2.0";

const WRONG_PASSWORD: &str = "WRONGPASS invalid username-password pair or user is disabled.";

pub(super) fn ping(session: &mut Session<'_>, request: &Request) {
    let writer = &mut session.writer;
    match request.len() {
        1 => writer.simple("PONG"),
        2 => writer.bulk(request.arg(1)),
        _ => writer.error("ERR wrong number of arguments for 'ping' command"),
    }
}

pub(super) fn echo(session: &mut Session<'_>, request: &Request) {
    session.writer.bulk(request.arg(1));
}

pub(super) fn select(session: &mut Session<'_>, request: &Request) {
    let writer = &mut session.writer;
    match number(request.arg(1)).map(u8::try_from) {
        None => writer.error("ERR value is not an integer or out of range"),
        Some(Ok(index @ 0..16)) => {
            session.database = index;
            writer.simple("OK");
        }
        Some(_) => writer.error("ERR DB index is out of range"),
    }
}

pub(super) fn quit(session: &mut Session<'_>, _request: &Request) {
    session.writer.simple("OK");
    session.closing = Some(Closing::AfterReplies);
}

pub(super) fn reset(session: &mut Session<'_>, _request: &Request) {
    session.reset();
    session.writer.simple("RESET");
}

/// `AUTH [username] password`: an API key is valid with any user name, the password only with `default`.
pub(super) fn auth(session: &mut Session<'_>, request: &Request) {
    let user = if request.len() == 3 {
        request.arg(1)
    } else {
        DEFAULT_USER
    };
    if request.len() > 3 {
        session.writer.error("ERR syntax error");
    } else if session.log_in(user, request.arg(request.len() - 1)) {
        session.writer.simple("OK");
    } else {
        session.writer.error(WRONG_PASSWORD);
    }
}

/// `HELLO [protover [AUTH username password] [SETNAME clientname]]`.
pub(super) fn hello(session: &mut Session<'_>, request: &Request) {
    match apply_hello(session, request) {
        Ok(protocol) => {
            session.writer.protocol = protocol;
            write_hello(session);
        }
        Err(error) => session.writer.error(&error),
    }
}

/// Runs `HELLO`, and returns the protocol to use from then on. Changes nothing unless the whole request is valid.
fn apply_hello(session: &mut Session<'_>, request: &Request) -> Result<Protocol, RefusedCommand> {
    let protocol = match request.get(1).map(number) {
        None => session.writer.protocol,
        Some(Some(2)) => Protocol::Resp2,
        Some(Some(3)) => Protocol::Resp3,
        Some(Some(_)) => return Err("NOPROTO unsupported protocol version".into()),
        Some(None) => return Err("ERR Protocol version is not an integer or out of range".into()),
    };
    let (mut login, mut name) = (None, None);
    let mut next = 2;
    while let Some(option) = request.get(next) {
        if option.eq_ignore_ascii_case(b"auth") && request.len() > next + 2 {
            login = Some((request.arg(next + 1), request.arg(next + 2)));
            next += 3;
        } else if option.eq_ignore_ascii_case(b"setname") && request.len() > next + 1 {
            name = Some(checked_name(request.arg(next + 1), "Client names")?);
            next += 2;
        } else {
            // Redis repeats the option, but that may be a misplaced password.
            return Err("ERR Syntax error in HELLO option".into());
        }
    }
    if let Some((user, secret)) = login
        && !session.log_in(user, secret)
    {
        return Err(WRONG_PASSWORD.into());
    }
    if !session.logged_in() {
        return Err("NOAUTH HELLO must be called with the client already authenticated, otherwise the \
                    HELLO <proto> AUTH <user> <pass> option can be used to authenticate the client and select \
                    the RESP protocol version at the same time"
            .into());
    }
    if let Some(name) = name {
        session.names.name = name;
    }
    Ok(protocol)
}

fn write_hello(session: &mut Session<'_>) {
    let (id, writer) = (session.id, &mut session.writer);
    writer.map(7);
    for text in ["server", "redis", "version", REDIS_VERSION, "proto"] {
        writer.bulk(text);
    }
    writer.integer(writer.protocol as u8);
    writer.bulk("id");
    writer.integer(id);
    for text in ["mode", "standalone", "role", "master", "modules"] {
        writer.bulk(text);
    }
    writer.array(0);
}
