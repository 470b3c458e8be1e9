//! The commands, and the check that a request is one of them.

mod client;
mod command;
mod connection;
mod info;
mod pubsub;
mod table;

use super::{
    request::Request,
    session::{RefusedCommand, Session, Spec, printable},
};

/// Returns the command or subcommand of `request`, if it may be carried out now; else the error to reply.
pub(super) fn permitted(session: &Session<'_>, request: &Request) -> Result<&'static Spec, RefusedCommand> {
    let spec = find(request.arg(0));
    // A client that has not logged in does not learn which commands exist.
    if !session.logged_in() && !spec.is_some_and(Spec::before_login) {
        return Err("NOAUTH Authentication required.".into());
    }
    let mut spec = spec.ok_or_else(|| unknown(request.arg(0)))?;
    if let Some(name) = request.get(1)
        && !spec.subcommands.is_empty()
    {
        spec = Spec::named(spec.subcommands, name).ok_or_else(|| unknown_subcommand(spec, name))?;
    }
    if spec.takes(request.len()) {
        Ok(spec)
    } else {
        Err(format!("ERR wrong number of arguments for '{}' command", spec.name).into())
    }
}

fn find(name: &[u8]) -> Option<&'static Spec> {
    Spec::named(table::COMMANDS, name)
}

/// Repeats the name alone: an argument may be a password or a message.
fn unknown(name: &[u8]) -> RefusedCommand {
    if is_subscription(name) {
        let name = printable(name).to_uppercase();
        return format!("ERR {name} is not available here: publish on this port, receive over WebSocket")
            .into();
    }
    format!("ERR unknown command '{}'", printable(name)).into()
}

fn unknown_subcommand(spec: &Spec, name: &[u8]) -> RefusedCommand {
    let help = spec.name.to_uppercase();
    format!("ERR unknown subcommand '{}'. Try {help} HELP.", printable(name)).into()
}

fn is_subscription(name: &[u8]) -> bool {
    const SUBSCRIPTIONS: [&str; 7] = [
        "subscribe",
        "psubscribe",
        "ssubscribe",
        "unsubscribe",
        "punsubscribe",
        "sunsubscribe",
        "monitor",
    ];
    let mut known = SUBSCRIPTIONS.iter();
    known.any(|known| name.eq_ignore_ascii_case(known.as_bytes()))
}

/// `HELP` of a container: a line for each subcommand, and a line that explains it.
fn help(session: &mut Session<'_>, request: &Request) {
    let Some(spec) = find(request.arg(0)) else {
        return;
    };
    let writer = &mut session.writer;
    writer.array(1 + 2 * spec.subcommands.len());
    let name = spec.name.to_uppercase();
    writer.simple(&format!(
        "{name} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"
    ));
    for subcommand in spec.subcommands {
        let name = subcommand.own_name().to_uppercase();
        writer.simple(format!("{name} {}", subcommand.arguments).trim_end());
        writer.simple(&format!("    {}", subcommand.summary));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> impl Iterator<Item = &'static Spec> {
        table::COMMANDS
            .iter()
            .flat_map(|spec| std::iter::once(spec).chain(spec.subcommands))
    }

    #[test]
    fn the_table_is_consistent() {
        for spec in all() {
            assert_eq!(spec.name, spec.name.to_lowercase());
            assert!(!spec.summary.is_empty() && !spec.group.is_empty());
            assert!(!spec.takes(0), "{}", spec.name);
        }
        for spec in table::COMMANDS {
            for subcommand in spec.subcommands {
                assert_eq!(
                    subcommand.name,
                    format!("{}|{}", spec.name, subcommand.own_name())
                );
            }
        }
    }

    #[test]
    fn only_three_commands_work_before_login() {
        let names: Vec<_> = all()
            .filter(|spec| spec.before_login())
            .map(|spec| spec.name)
            .collect();
        assert_eq!(names, ["auth", "hello", "quit"]);
    }
}
