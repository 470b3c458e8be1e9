//! The table of commands.

use super::{client, command, connection, help, info, pubsub};
use crate::resp::session::{Session, Spec};

/// A command with the most frequent answers to the questions that `COMMAND` asks.
const PLAIN: Spec = Spec {
    name: "",
    arity: -1,
    flags: &["loading", "stale", "fast"],
    categories: &["@fast", "@connection"],
    summary: "",
    since: "1.0.0",
    group: "connection",
    complexity: "O(1)",
    arguments: "",
    subcommands: &[],
    immediate: false,
    run: |_, _| {},
};

/// A command that only names others.
const CONTAINER: Spec = Spec {
    arity: -2,
    flags: &[],
    categories: &["@slow"],
    complexity: "Depends on subcommand.",
    ..PLAIN
};

const SESSION_FLAGS: &[&str] = &["noscript", "loading", "stale", "fast", "allow_busy"];
const LOGIN_FLAGS: &[&str] = &["noscript", "loading", "stale", "fast", "no_auth", "allow_busy"];
const TRANSACTION: &[&str] = &["@fast", "@transaction"];

/// All commands. The first is the one that counts: requests are looked up in this order.
pub(super) static COMMANDS: &[Spec] = &[
    Spec {
        name: "publish",
        arity: 3,
        flags: &["pubsub", "loading", "stale", "fast"],
        categories: &["@pubsub", "@fast"],
        summary: "Sends an event and answers how many connections it was queued for.",
        since: "2.0.0",
        group: "pubsub",
        complexity: "O(N), N being the connections reached",
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
        since: "6.0.0",
        arguments: "[protover [AUTH username password] [SETNAME clientname]]",
        run: connection::hello,
        ..PLAIN
    },
    Spec {
        name: "client",
        summary: "Container of the commands about connections.",
        since: "2.4.0",
        subcommands: CLIENT,
        ..CONTAINER
    },
    Spec {
        name: "multi",
        arity: 1,
        flags: SESSION_FLAGS,
        categories: TRANSACTION,
        summary: "Opens a transaction.",
        since: "1.2.0",
        group: "transactions",
        immediate: true,
        run: |session, _| session.begin(),
        ..PLAIN
    },
    Spec {
        name: "exec",
        arity: 1,
        flags: &["noscript", "loading", "stale", "skip_slowlog"],
        categories: &["@slow", "@transaction"],
        summary: "Carries out the transaction's commands.",
        since: "1.2.0",
        group: "transactions",
        complexity: "Depends on commands in the transaction",
        immediate: true,
        run: |session, _| session.execute(),
        ..PLAIN
    },
    Spec {
        name: "discard",
        arity: 1,
        flags: SESSION_FLAGS,
        categories: TRANSACTION,
        summary: "Forgets the transaction's commands.",
        since: "2.0.0",
        group: "transactions",
        complexity: "O(N), N being the commands queued",
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
        categories: &["@slow", "@dangerous"],
        summary: "Tells how the server is.",
        group: "server",
        arguments: "[section [section ...]]",
        run: info::info,
        ..PLAIN
    },
    Spec {
        name: "pubsub",
        summary: "Container of the commands about channels.",
        since: "2.8.0",
        group: "pubsub",
        subcommands: PUBSUB,
        ..CONTAINER
    },
    Spec {
        name: "command",
        flags: &["loading", "stale"],
        categories: &["@slow", "@connection"],
        summary: "Tells about all commands.",
        since: "2.8.13",
        group: "server",
        complexity: "O(N), N being the commands",
        subcommands: COMMAND,
        run: |session, _| command::command(session, COMMANDS),
        ..PLAIN
    },
    Spec {
        name: "reset",
        arity: 1,
        flags: SESSION_FLAGS,
        summary: "Puts the connection back to how it began.",
        since: "6.2.0",
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
    categories: &["@slow", "@connection"],
    since: "5.0.0",
    ..PLAIN
};

static CLIENT: &[Spec] = &[
    Spec {
        name: "client|setinfo",
        arity: 4,
        summary: "Tells the name or the version of the client's library.",
        since: "7.2.0",
        arguments: "LIB-NAME libname | LIB-VER libver",
        run: client::set_info,
        ..OF_CLIENT
    },
    Spec {
        name: "client|setname",
        arity: 3,
        summary: "Names the connection.",
        since: "2.6.9",
        arguments: "connection-name",
        run: client::set_name,
        ..OF_CLIENT
    },
    Spec {
        name: "client|getname",
        summary: "Answers the connection's name.",
        since: "2.6.9",
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
        since: "6.2.0",
        run: client::info,
        ..OF_CLIENT
    },
    Spec {
        name: "client|no-evict",
        arity: 3,
        summary: "Accepted for clients that send it; no connection is ever evicted.",
        since: "7.0.0",
        arguments: "ON | OFF",
        run: client::on_or_off,
        ..OF_CLIENT
    },
    Spec {
        name: "client|no-touch",
        arity: 3,
        summary: "Accepted for clients that send it; there are no keys to touch.",
        since: "7.2.0",
        arguments: "ON | OFF",
        run: client::on_or_off,
        ..OF_CLIENT
    },
    Spec {
        name: "client|getredir",
        summary: "Answers -1: there is no client-side caching.",
        since: "6.0.0",
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
    categories: &["@pubsub", "@slow"],
    since: "2.8.0",
    group: "pubsub",
    ..PLAIN
};

static PUBSUB: &[Spec] = &[
    Spec {
        name: "pubsub|channels",
        arity: -2,
        summary: "Lists the channels with a listener.",
        complexity: "O(N), N being the users and channels with a listener",
        arguments: "[pattern]",
        run: pubsub::channels,
        ..OF_PUBSUB
    },
    Spec {
        name: "pubsub|numsub",
        arity: -2,
        summary: "Counts the connections that would receive what is published on each channel.",
        complexity: "O(N), N being the channels asked for",
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
        categories: &["@slow"],
        since: "6.2.0",
        summary: "Explains the subcommands.",
        run: help,
        ..OF_PUBSUB
    },
];

/// A subcommand of `COMMAND`.
const OF_COMMAND: Spec = Spec {
    flags: &["loading", "stale"],
    categories: &["@slow", "@connection"],
    group: "server",
    ..PLAIN
};

static COMMAND: &[Spec] = &[
    Spec {
        name: "command|count",
        arity: 2,
        summary: "Counts the commands.",
        since: "2.8.13",
        run: |session, _| command::count(session, COMMANDS),
        ..OF_COMMAND
    },
    Spec {
        name: "command|docs",
        arity: -2,
        summary: "Tells what commands are for.",
        since: "7.0.0",
        complexity: "O(N), N being the commands asked for",
        arguments: "[command-name [command-name ...]]",
        run: |session, request| command::docs(session, request, COMMANDS),
        ..OF_COMMAND
    },
    Spec {
        name: "command|info",
        arity: -2,
        summary: "Tells about some commands, or all.",
        since: "2.8.13",
        complexity: "O(N), N being the commands asked for",
        arguments: "[command-name [command-name ...]]",
        run: |session, request| command::info(session, request, COMMANDS),
        ..OF_COMMAND
    },
    Spec {
        name: "command|list",
        arity: 2,
        summary: "Lists the commands' names.",
        since: "7.0.0",
        complexity: "O(N), N being the commands",
        run: |session, _| command::list(session, COMMANDS),
        ..OF_COMMAND
    },
    Spec {
        name: "command|help",
        arity: 2,
        summary: "Explains the subcommands.",
        since: "5.0.0",
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
