//! The commands: what there is, and whether a request is one.

mod client;
mod command;
mod connection;
mod info;
mod pubsub;
mod table;

use super::{
    reader::Request,
    session::{Refused, Session, printable},
};

/// What there is to know of a command, as `COMMAND` tells it, and what it does.
pub(super) struct Spec {
    /// In lower case; a subcommand's has its container's in front, as in `client|id`.
    pub(super) name: &'static str,
    /// How many arguments, the command's name included; negative if there may be more.
    pub(super) arity: i64,
    pub(super) flags: &'static [&'static str],
    pub(super) categories: &'static [&'static str],
    pub(super) summary: &'static str,
    /// The version of Redis that brought it.
    pub(super) since: &'static str,
    pub(super) group: &'static str,
    pub(super) complexity: &'static str,
    /// Its arguments, as its help shows them.
    pub(super) arguments: &'static str,
    pub(super) subcommands: &'static [Spec],
    /// Works at once even between `MULTI` and `EXEC`.
    pub(super) immediate: bool,
    /// Writes exactly one reply, or leaves it to the batch.
    pub(super) run: fn(&mut Session<'_>, &Request),
}

impl Spec {
    /// Whether it works before login.
    pub(super) fn before_login(&self) -> bool {
        self.flags.contains(&"no_auth")
    }

    /// The name without its container's.
    fn own_name(&self) -> &'static str {
        self.name.rsplit('|').next().unwrap_or(self.name)
    }

    /// The subcommand called `name`, in any case.
    fn find(&self, name: &[u8]) -> Option<&'static Self> {
        let mut all = self.subcommands.iter();
        all.find(|spec| name.eq_ignore_ascii_case(spec.own_name().as_bytes()))
    }

    fn takes(&self, arguments: usize) -> bool {
        let wanted = usize::try_from(self.arity.unsigned_abs()).unwrap_or(usize::MAX);
        arguments == wanted || self.arity < 0 && arguments > wanted
    }
}

/// The command called `name`, in any case.
pub(super) fn find(name: &[u8]) -> Option<&'static Spec> {
    table::COMMANDS
        .iter()
        .find(|spec| name.eq_ignore_ascii_case(spec.name.as_bytes()))
}

/// What `request`, whose name is that of `spec`, asks for: the command or one of its subcommands.
///
/// # Errors
/// The reply, if there is no such command or the arguments are too few or too many.
pub(super) fn resolve(spec: Option<&'static Spec>, request: &Request) -> Result<&'static Spec, Refused> {
    let Some(mut spec) = spec else {
        return Err(unknown(request.arg(0)));
    };
    if let Some(name) = request.get(1)
        && !spec.subcommands.is_empty()
    {
        spec = spec.find(name).ok_or_else(|| unknown_subcommand(spec, name))?;
    }
    if spec.takes(request.len()) {
        Ok(spec)
    } else {
        Err(format!("ERR wrong number of arguments for '{}' command", spec.name).into())
    }
}

/// Tells the name alone: what follows it may be a password, or a message.
fn unknown(name: &[u8]) -> Refused {
    if is_subscription(name) {
        let name = printable(name).to_uppercase();
        return format!("ERR {name} is not available here: publish on this port, receive over WebSocket")
            .into();
    }
    format!("ERR unknown command '{}'", printable(name)).into()
}

fn unknown_subcommand(spec: &Spec, name: &[u8]) -> Refused {
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
    SUBSCRIPTIONS
        .iter()
        .any(|known| name.eq_ignore_ascii_case(known.as_bytes()))
}

/// `HELP` of a container: its subcommands, one a line and each with a line that explains it.
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
    fn the_table_is_sound() {
        for spec in all() {
            assert_eq!(spec.name, spec.name.to_lowercase());
            assert!(!spec.summary.is_empty() && !spec.since.is_empty() && !spec.group.is_empty());
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
