//! `COMMAND` and its subcommands, which describe the commands of this door.

use crate::resp::{
    request::Request,
    session::{Session, Spec},
    writer::Writer,
};

type Commands = &'static [Spec];

pub(super) fn command(session: &mut Session<'_>, all: Commands) {
    session.writer.array(all.len());
    for spec in all {
        write_info(&mut session.writer, spec);
    }
}

pub(super) fn count(session: &mut Session<'_>, all: Commands) {
    session.writer.integer(all.len());
}

pub(super) fn list(session: &mut Session<'_>, all: Commands) {
    session.writer.array(all.len());
    for spec in all {
        session.writer.bulk(spec.name);
    }
}

/// `COMMAND INFO [name …]`: each requested command; null for one that does not exist.
pub(super) fn info(session: &mut Session<'_>, request: &Request, all: Commands) {
    if request.len() == 2 {
        return command(session, all);
    }
    let writer = &mut session.writer;
    writer.array(request.len() - 2);
    for name in request.args(2) {
        match by_full_name(all, name) {
            Some(spec) => write_info(writer, spec),
            None => writer.null(),
        }
    }
}

/// `COMMAND DOCS [name …]`: the requested commands that exist.
pub(super) fn docs(session: &mut Session<'_>, request: &Request, all: Commands) {
    let specs: Vec<&Spec> = if request.len() == 2 {
        all.iter().collect()
    } else {
        request
            .args(2)
            .filter_map(|name| by_full_name(all, name))
            .collect()
    };
    write_docs(&mut session.writer, &specs);
}

/// Returns the command or, written as `container|name`, the subcommand.
fn by_full_name(all: Commands, name: &[u8]) -> Option<&'static Spec> {
    let mut parts = name.splitn(2, |&byte| byte == b'|');
    let spec = Spec::named(all, parts.next()?)?;
    match parts.next() {
        None => Some(spec),
        Some(name) => Spec::named(spec.subcommands, name),
    }
}

/// Writes ten facts about a command, in the order of Redis.
fn write_info(writer: &mut Writer, spec: &Spec) {
    writer.array(10);
    writer.bulk(spec.name);
    writer.integer(spec.arity);
    writer.set(spec.flags.len());
    for flag in spec.flags {
        writer.simple(flag);
    }
    // The places of the first and the last key and the steps between: no command here has keys.
    for _ in 0..3 {
        writer.integer(0);
    }
    // There are no categories of access lists, no hints for proxies, and no specifications of keys.
    for _ in 0..3 {
        writer.set(0);
    }
    writer.set(spec.subcommands.len());
    for subcommand in spec.subcommands {
        write_info(writer, subcommand);
    }
}

fn write_docs(writer: &mut Writer, specs: &[&Spec]) {
    writer.map(specs.len());
    for spec in specs {
        writer.bulk(spec.name);
        writer.map(if spec.subcommands.is_empty() { 2 } else { 3 });
        for (key, value) in [("summary", spec.summary), ("group", spec.group)] {
            writer.bulk(key);
            writer.bulk(value);
        }
        if !spec.subcommands.is_empty() {
            writer.bulk("subcommands");
            write_docs(writer, &spec.subcommands.iter().collect::<Vec<_>>());
        }
    }
}
