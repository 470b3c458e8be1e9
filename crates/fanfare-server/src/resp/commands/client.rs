//! `CLIENT` and its subcommands.

use std::fmt::Write;

use crate::resp::{
    request::Request,
    session::{RefusedCommand, Session, printable},
    writer::Writer,
};

/// The longest name a client may give itself or its library, in bytes. Redis has no limit, but memory does.
const MAX_NAME: usize = 512;

pub(super) fn id(session: &mut Session<'_>, _request: &Request) {
    session.writer.integer(session.id);
}

pub(super) fn get_name(session: &mut Session<'_>, _request: &Request) {
    if session.names.name.is_empty() {
        session.writer.null();
    } else {
        session.writer.bulk(&*session.names.name);
    }
}

pub(super) fn set_name(session: &mut Session<'_>, request: &Request) {
    let name = checked_name(request.arg(2), "Client names");
    store(&mut session.writer, name, &mut session.names.name);
}

fn store(writer: &mut Writer, name: Result<Box<str>, RefusedCommand>, field: &mut Box<str>) {
    match name {
        Ok(name) => {
            *field = name;
            writer.simple("OK");
        }
        Err(error) => writer.error(&error),
    }
}

/// `CLIENT SETINFO LIB-NAME name` and `CLIENT SETINFO LIB-VER version`.
pub(super) fn set_info(session: &mut Session<'_>, request: &Request) {
    let attribute = request.arg(2).to_ascii_lowercase();
    let (what, field) = match attribute.as_slice() {
        b"lib-name" => ("lib-name", &mut session.names.library),
        b"lib-ver" => ("lib-ver", &mut session.names.library_version),
        _ => {
            let error = format!("ERR Unrecognized option '{}'", printable(request.arg(2)));
            return session.writer.error(&error);
        }
    };
    store(&mut session.writer, checked_name(request.arg(3), what), field);
}

/// `CLIENT NO-EVICT ON|OFF` and `CLIENT NO-TOUCH ON|OFF`, which have no effect.
pub(super) fn on_or_off(session: &mut Session<'_>, request: &Request) {
    let switch = request.arg(2);
    if switch.eq_ignore_ascii_case(b"on") || switch.eq_ignore_ascii_case(b"off") {
        session.writer.simple("OK");
    } else {
        session.writer.error("ERR syntax error");
    }
}

/// `CLIENT INFO`: the fields of Redis. Those without a meaning here are 0, since clients expect numbers.
pub(super) fn info(session: &mut Session<'_>, _request: &Request) {
    let mut line = String::new();
    let open = session.transaction.as_ref();
    let queued = open.map_or(-1, |open| i64::try_from(open.queued.len()).unwrap_or(i64::MAX));
    let names = &session.names;
    // Writing to a string cannot fail.
    let _ = writeln!(
        line,
        "id={} addr={} name={} age={} idle=0 flags=N db={} sub=0 psub=0 ssub=0 multi={queued} qbuf=0 \
         qbuf-free=0 argv-mem=0 multi-mem=0 rbs=0 rbp=0 obl=0 oll=0 omem=0 tot-mem=0 events=r cmd=client|info \
         user=default redir=-1 resp={} lib-name={} lib-ver={}",
        session.id,
        session.peer,
        names.name,
        session.since.elapsed().as_secs(),
        session.database,
        session.writer.protocol as u8,
        names.library,
        names.library_version,
    );
    session.writer.text(&line);
}

/// Returns `name` if it fits into a line of `CLIENT INFO`. The error begins with `what`.
pub(super) fn checked_name(name: &[u8], what: &str) -> Result<Box<str>, RefusedCommand> {
    if name.len() > MAX_NAME {
        return Err(format!("ERR {what} cannot be longer than {MAX_NAME} bytes").into());
    }
    match std::str::from_utf8(name) {
        Ok(text) if name.iter().all(u8::is_ascii_graphic) => Ok(text.into()),
        _ => Err(format!("ERR {what} cannot contain spaces, newlines or special characters.").into()),
    }
}
