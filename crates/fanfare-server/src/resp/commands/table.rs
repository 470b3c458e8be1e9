//! The table of commands.

use super::{client, command, connection, help, info, pubsub};
use crate::resp::session::Spec;

/// The most frequent facts of a command.
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

const LOGIN: Spec = Spec {
    flags: &["noscript", "loading", "stale", "fast", "no_auth", "allow_busy"],
    ..PLAIN
};

/// A command that runs at once, even in a transaction.
const IMMEDIATE: Spec = Spec {
    flags: &["noscript", "loading", "stale", "fast", "allow_busy"],
    immediate: true,
    ..PLAIN
};

const OF_CLIENT: Spec = Spec {
    flags: &["noscript", "loading", "stale"],
    ..PLAIN
};

const OF_PUBSUB: Spec = Spec {
    flags: &["pubsub", "loading", "stale"],
    group: "pubsub",
    ..PLAIN
};

/// `INFO`, `COMMAND`, and a subcommand of it.
const OF_SERVER: Spec = Spec {
    flags: &["loading", "stale"],
    group: "server",
    ..PLAIN
};

/// Makes the rows of a table. The fields behind the implementation replace those of the usual `Spec`.
macro_rules! commands {
    ($($usual:ident $name:literal $arity:literal $arguments:literal $summary:literal $run:expr $(, $field:ident: $value:expr)*;)*) => {
        &[$(Spec { name: $name, arity: $arity, arguments: $arguments, summary: $summary, run: $run, $($field: $value,)* ..$usual }),*]
    };
}

/// All commands. Requests are looked up in this order, so the most frequent one is the first.
pub(super) static COMMANDS: &[Spec] = commands! {
    PLAIN "publish" 3 "channel message" "Publishes an event and returns the number of connections that it was queued for."
        |session, request| session.publish(request), flags: &["pubsub", "loading", "stale", "fast"], group: "pubsub";
    PLAIN "ping" -1 "[message]" "Returns PONG, or the message."
        connection::ping, flags: &["fast"];
    LOGIN "auth" -2 "[username] password" "Logs in with the password or an API key, under any user name."
        connection::auth;
    LOGIN "hello" -1 "[protover [AUTH username password] [SETNAME clientname]]"
        "Chooses the protocol's version, and may log in and name the connection."
        connection::hello;
    PLAIN "client" -2 "" "Container of the commands about connections."
        |_, _| {}, flags: &[], subcommands: CLIENT;
    IMMEDIATE "multi" 1 "" "Opens a transaction."
        |session, _| session.begin(), group: "transactions";
    IMMEDIATE "exec" 1 "" "Carries out the transaction's commands."
        |session, _| session.execute(), flags: &["noscript", "loading", "stale", "skip_slowlog"], group: "transactions";
    IMMEDIATE "discard" 1 "" "Discards the transaction's commands."
        |session, _| session.discard(), group: "transactions";
    PLAIN "echo" 2 "message" "Returns the message."
        connection::echo;
    PLAIN "select" 2 "index" "Chooses a database; there are 16, and they make no difference to publications."
        connection::select;
    OF_SERVER "info" -1 "[section [section ...]]" "Describes the state of the server."
        info::info;
    PLAIN "pubsub" -2 "" "Container of the commands about channels."
        |_, _| {}, flags: &[], group: "pubsub", subcommands: PUBSUB;
    OF_SERVER "command" -1 "" "Describes all commands."
        |session, _| command::command(session, COMMANDS), subcommands: COMMAND;
    IMMEDIATE "reset" 1 "" "Resets the connection to its initial state."
        connection::reset;
    LOGIN "quit" -1 "" "Closes the connection."
        connection::quit, immediate: true;
};

static CLIENT: &[Spec] = commands! {
    OF_CLIENT "client|setinfo" 4 "LIB-NAME libname | LIB-VER libver" "Sets the name or the version of the client's library."
        client::set_info;
    OF_CLIENT "client|setname" 3 "connection-name" "Names the connection."
        client::set_name;
    OF_CLIENT "client|getname" 2 "" "Returns the connection's name."
        client::get_name;
    OF_CLIENT "client|id" 2 "" "Returns the connection's number."
        client::id;
    OF_CLIENT "client|info" 2 "" "Describes the connection."
        client::info;
    OF_CLIENT "client|no-evict" 3 "ON | OFF" "Accepted for clients that send it; no connection is ever evicted."
        client::on_or_off;
    OF_CLIENT "client|no-touch" 3 "ON | OFF" "Accepted for clients that send it; there are no keys to touch."
        client::on_or_off;
    OF_CLIENT "client|getredir" 2 "" "Returns -1: there is no client-side caching."
        |session, _| session.writer.integer(-1);
    OF_CLIENT "client|help" 2 "" "Explains the subcommands."
        help, flags: &["loading", "stale"];
};

static PUBSUB: &[Spec] = commands! {
    OF_PUBSUB "pubsub|channels" -2 "[pattern]" "Lists the channels with a listener."
        pubsub::channels;
    OF_PUBSUB "pubsub|numsub" -2 "[channel [channel ...]]" "Counts the connections that would receive what is published on each channel."
        pubsub::numsub;
    OF_PUBSUB "pubsub|numpat" 2 "" "Counts the different patterns that connections subscribe to."
        pubsub::numpat;
    OF_PUBSUB "pubsub|help" 2 "" "Explains the subcommands."
        help, flags: &["loading", "stale"];
};

static COMMAND: &[Spec] = commands! {
    OF_SERVER "command|count" 2 "" "Counts the commands."
        |session, _| command::count(session, COMMANDS);
    OF_SERVER "command|docs" -2 "[command-name [command-name ...]]" "Documents commands."
        |session, request| command::docs(session, request, COMMANDS);
    OF_SERVER "command|info" -2 "[command-name [command-name ...]]" "Describes some commands, or all."
        |session, request| command::info(session, request, COMMANDS);
    OF_SERVER "command|list" 2 "" "Lists the commands' names."
        |session, _| command::list(session, COMMANDS);
    OF_SERVER "command|help" 2 "" "Explains the subcommands."
        help;
};
