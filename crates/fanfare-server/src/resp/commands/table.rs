//! The table of commands.

use super::{client, command, connection, help, info, pubsub};
use crate::resp::session::{Session, Spec};

/// A command with the most frequent answers to the questions that `COMMAND` asks.
const PLAIN: Spec = Spec {
    name: "",
    arity: -1,
    flags: &["loading", "stale", "fast"],
    summary: "",
    group: "connection",
    arguments: "",
    subcommands: &[],
    immediate: false,
    run: |_, _| {},
};

/// A command that only names others.
const CONTAINER: Spec = Spec {
    arity: -2,
    flags: &[],
    ..PLAIN
};

const SESSION_FLAGS: &[&str] = &["noscript", "loading", "stale", "fast", "allow_busy"];
const LOGIN_FLAGS: &[&str] = &["noscript", "loading", "stale", "fast", "no_auth", "allow_busy"];

/// All commands. The first is the one that counts: requests are looked up in this order.
pub(super) static COMMANDS: &[Spec] = &[
    Spec {
        name: "publish",
        arity: 3,
        flags: &["pubsub", "loading", "stale", "fast"],
        summary: "Sends an event and answers how many connections it was queued for.",
        group: "pubsub",
        arguments: "channel message",
        run: |session, request| session.publish(request),
        ..PLAIN
    },
    Spec {
        name: "ping",
        flags: &["fast"],
        summary: "Answers PONG, or the message.",
        arguments: "[message]",
        run: connection::ping,
        ..PLAIN
    },
    Spec {
        name: "auth",
        arity: -2,
        flags: LOGIN_FLAGS,
        summary: "Logs in with the password or an API key, under any user name.",
        arguments: "[username] password",
        run: connection::auth,
        ..PLAIN
    },
    Spec {
        name: "hello",
        flags: LOGIN_FLAGS,
        summary: "Chooses the protocol's version, and may log in and name the connection.",
        arguments: "[protover [AUTH username password] [SETNAME clientname]]",
        run: connection::hello,
        ..PLAIN
    },
    Spec {
        name: "client",
        summary: "Container of the commands about connections.",
        subcommands: CLIENT,
        ..CONTAINER
    },
    Spec {
        name: "multi",
        arity: 1,
        flags: SESSION_FLAGS,
        summary: "Opens a transaction.",
        group: "transactions",
        immediate: true,
        run: |session, _| session.begin(),
        ..PLAIN
    },
    Spec {
        name: "exec",
        arity: 1,
        flags: &["noscript", "loading", "stale", "skip_slowlog"],
        summary: "Carries out the transaction's commands.",
        group: "transactions",
        immediate: true,
        run: |session, _| session.execute(),
        ..PLAIN
    },
    Spec {
        name: "discard",
        arity: 1,
        flags: SESSION_FLAGS,
        summary: "Forgets the transaction's commands.",
        group: "transactions",
        immediate: true,
        run: discard,
        ..PLAIN
    },
    Spec {
        name: "echo",
        arity: 2,
        summary: "Answers the message.",
        arguments: "message",
        run: connection::echo,
        ..PLAIN
    },
    Spec {
        name: "select",
        arity: 2,
        summary: "Chooses a database; there are 16, and they make no difference to publications.",
        arguments: "index",
        run: connection::select,
        ..PLAIN
    },
    Spec {
        name: "info",
        flags: &["loading", "stale"],
        summary: "Tells how the server is.",
        group: "server",
        arguments: "[section [section ...]]",
        run: info::info,
        ..PLAIN
    },
    Spec {
        name: "pubsub",
        summary: "Container of the commands about channels.",
        group: "pubsub",
        subcommands: PUBSUB,
        ..CONTAINER
    },
    Spec {
        name: "command",
        flags: &["loading", "stale"],
        summary: "Tells about all commands.",
        group: "server",
        subcommands: COMMAND,
        run: |session, _| command::command(session, COMMANDS),
        ..PLAIN
    },
    Spec {
        name: "reset",
        arity: 1,
        flags: SESSION_FLAGS,
        summary: "Puts the connection back to how it began.",
        immediate: true,
        run: connection::reset,
        ..PLAIN
    },
    Spec {
        name: "quit",
        flags: LOGIN_FLAGS,
        summary: "Closes the connection.",
        immediate: true,
        run: connection::quit,
        ..PLAIN
    },
];

/// A subcommand of `CLIENT`.
const OF_CLIENT: Spec = Spec {
    arity: 2,
    flags: &["noscript", "loading", "stale"],
    ..PLAIN
};

static CLIENT: &[Spec] = &[
    Spec {
        name: "client|setinfo",
        arity: 4,
        summary: "Tells the name or the version of the client's library.",
        arguments: "LIB-NAME libname | LIB-VER libver",
        run: client::set_info,
        ..OF_CLIENT
    },
    Spec {
        name: "client|setname",
        arity: 3,
        summary: "Names the connection.",
        arguments: "connection-name",
        run: client::set_name,
        ..OF_CLIENT
    },
    Spec {
        name: "client|getname",
        summary: "Answers the connection's name.",
        run: client::get_name,
        ..OF_CLIENT
    },
    Spec {
        name: "client|id",
        summary: "Answers the connection's number.",
        run: client::id,
        ..OF_CLIENT
    },
    Spec {
        name: "client|info",
        summary: "Tells about the connection.",
        run: client::info,
        ..OF_CLIENT
    },
    Spec {
        name: "client|no-evict",
        arity: 3,
        summary: "Accepted for clients that send it; no connection is ever evicted.",
        arguments: "ON | OFF",
        run: client::on_or_off,
        ..OF_CLIENT
    },
    Spec {
        name: "client|no-touch",
        arity: 3,
        summary: "Accepted for clients that send it; there are no keys to touch.",
        arguments: "ON | OFF",
        run: client::on_or_off,
        ..OF_CLIENT
    },
    Spec {
        name: "client|getredir",
        summary: "Answers -1: there is no client-side caching.",
        run: |session, _| session.writer.integer(-1),
        ..OF_CLIENT
    },
    Spec {
        name: "client|help",
        summary: "Explains the subcommands.",
        flags: &["loading", "stale"],
        run: help,
        ..OF_CLIENT
    },
];

/// A subcommand of `PUBSUB`.
const OF_PUBSUB: Spec = Spec {
    arity: 2,
    flags: &["pubsub", "loading", "stale"],
    group: "pubsub",
    ..PLAIN
};

static PUBSUB: &[Spec] = &[
    Spec {
        name: "pubsub|channels",
        arity: -2,
        summary: "Lists the channels with a listener.",
        arguments: "[pattern]",
        run: pubsub::channels,
        ..OF_PUBSUB
    },
    Spec {
        name: "pubsub|numsub",
        arity: -2,
        summary: "Counts the connections that would receive what is published on each channel.",
        arguments: "[channel [channel ...]]",
        run: pubsub::numsub,
        ..OF_PUBSUB
    },
    Spec {
        name: "pubsub|numpat",
        summary: "Counts the different patterns that connections subscribe to.",
        run: pubsub::numpat,
        ..OF_PUBSUB
    },
    Spec {
        name: "pubsub|help",
        flags: &["loading", "stale"],
        summary: "Explains the subcommands.",
        run: help,
        ..OF_PUBSUB
    },
];

/// A subcommand of `COMMAND`.
const OF_COMMAND: Spec = Spec {
    flags: &["loading", "stale"],
    group: "server",
    ..PLAIN
};

static COMMAND: &[Spec] = &[
    Spec {
        name: "command|count",
        arity: 2,
        summary: "Counts the commands.",
        run: |session, _| command::count(session, COMMANDS),
        ..OF_COMMAND
    },
    Spec {
        name: "command|docs",
        arity: -2,
        summary: "Tells what commands are for.",
        arguments: "[command-name [command-name ...]]",
        run: |session, request| command::docs(session, request, COMMANDS),
        ..OF_COMMAND
    },
    Spec {
        name: "command|info",
        arity: -2,
        summary: "Tells about some commands, or all.",
        arguments: "[command-name [command-name ...]]",
        run: |session, request| command::info(session, request, COMMANDS),
        ..OF_COMMAND
    },
    Spec {
        name: "command|list",
        arity: 2,
        summary: "Lists the commands' names.",
        run: |session, _| command::list(session, COMMANDS),
        ..OF_COMMAND
    },
    Spec {
        name: "command|help",
        arity: 2,
        summary: "Explains the subcommands.",
        run: help,
        ..OF_COMMAND
    },
];

fn discard(session: &mut Session<'_>, _request: &super::Request) {
    if session.discard() {
        session.writer.simple("OK");
    } else {
        session.writer.error("ERR DISCARD without MULTI");
    }
}
