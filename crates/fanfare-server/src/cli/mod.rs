//! The command line.

mod accounts;
mod answer_lines;
mod backup;
#[cfg(feature = "bench")]
mod bench_command;
mod config_command;
mod destination;
mod explain;
mod history;
mod key;
mod listen;
mod listen_since;
mod output;
mod packaged;
mod publish;
mod ready;
mod reload;
mod remote;
mod restore;
mod serve_command;
mod tail;
mod token;
mod top;
mod trace;
mod user;

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand};
use fanfare_core::Registry;

use crate::config::{self, Config, ConfigErrors, Loaded, Sources};

/// A realtime server: clients of several protocols, one fan-out core.
#[derive(Parser)]
#[command(name = "fanfare", version, max_term_width = 100)]
#[command(
    after_help = "Without a command, `fanfare` serves. Exit codes: 0 done, 1 a runtime error, 2 bad arguments or configuration."
)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Option<Command>,
}

/// The arguments of every command.
#[derive(Args)]
struct Global {
    /// The configuration file [default: fanfare.toml here, then /etc/fanfare/fanfare.toml]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Set a configuration key; takes precedence over the file and the environment; may be repeated
    #[arg(long, global = true, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// The log level: error, warn, info, debug, trace, or directives such as `info,fanfare_server::resp=debug`
    #[arg(long, global = true, value_name = "LEVEL")]
    log_level: Option<String>,
    /// The dialects of this build.
    #[arg(skip)]
    registry: Registry,
}

/// The defaults to start from.
#[derive(Args, Default)]
struct Profile {
    /// A set of defaults: `default` or `production`. A dialect's name is `default` with `--dialect NAME`
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
    /// Serve only this dialect, on the first of its addresses; may be repeated
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    dialect: Vec<String>,
}

#[derive(Subcommand)]
enum Command {
    /// Run the server
    Serve(serve_command::Serve),
    /// Create a token for a user and print it
    Token(token::Token),
    /// Publish an event to a user, a channel or everyone
    Publish(publish::Publish),
    /// Connect as a client and print each event as a line of JSON
    Listen(listen::Listen),
    /// Show all nodes' figures, live
    Top(top::Top),
    /// Print events of all nodes, live
    Tail(tail::TailCommand),
    /// Print kept events of a channel, of a user or for everyone
    History(history::HistoryCommand),
    /// Show the outcome of an event at each connection on all nodes, and why a user did not receive it
    Trace(trace::Trace),
    /// Show whether a user may use a channel, and which rule or default decides
    Explain(explain::Explain),
    /// Create and change user accounts
    #[command(subcommand)]
    User(user::UserCommand),
    /// Create and revoke API keys for backends
    #[command(subcommand)]
    Key(key::KeyCommand),
    /// Write a consistent copy of the SQLite database to a new file; the server may be running
    Backup(backup::Backup),
    /// Replace the SQLite database by a backup; the server must be stopped
    Restore(restore::Restore),
    /// Make the running server reload its configuration: certificates, keys, access rules, limits, log level
    Reload(reload::Reload),
    /// Ask the server on this machine whether it is ready; exit with 1 if it is not
    Ready(ready::Ready),
    /// Measure the server on this machine
    #[cfg(feature = "bench")]
    Bench(bench_command::Bench),
    /// Check, show or explain the configuration
    #[command(subcommand)]
    Config(config_command::ConfigCommand),
    /// Print the completions for a shell
    #[command(hide = true)]
    Completions(packaged::Completions),
    /// Print the manual page, or write the pages of all commands
    #[command(hide = true)]
    Man(packaged::Man),
}

enum CommandFailure {
    /// The arguments or the configuration are wrong: exit code 2.
    Usage(String),
    /// The command failed: exit code 1.
    Runtime(String),
}

impl From<String> for CommandFailure {
    fn from(text: String) -> Self {
        Self::Runtime(text)
    }
}

impl From<&str> for CommandFailure {
    fn from(text: &str) -> Self {
        Self::Runtime(text.to_owned())
    }
}

fn usage(text: impl Into<String>) -> CommandFailure {
    CommandFailure::Usage(text.into())
}

fn bad_configuration(errors: &ConfigErrors) -> CommandFailure {
    usage(format!("the configuration cannot be used\n{errors}"))
}

type Outcome = Result<(), CommandFailure>;

/// Runs the command line of this process, in a build with these dialects.
pub fn run(registry: Registry) -> ExitCode {
    let mut cli = Cli::parse();
    cli.global.registry = registry;
    let outcome = match cli
        .command
        .unwrap_or(Command::Serve(serve_command::Serve::default()))
    {
        Command::Serve(command) => command.run(&cli.global),
        Command::Token(command) => command.run(&cli.global),
        Command::Publish(command) => command.run(&cli.global),
        Command::Listen(command) => command.run(&cli.global),
        Command::Top(command) => command.run(&cli.global),
        Command::Tail(command) => command.run(&cli.global),
        Command::History(command) => command.run(&cli.global),
        Command::Trace(command) => command.run(&cli.global),
        Command::Explain(command) => command.run(&cli.global),
        Command::User(command) => command.run(&cli.global),
        Command::Key(command) => command.run(&cli.global),
        Command::Backup(command) => command.run(&cli.global),
        Command::Restore(command) => command.run(&cli.global),
        Command::Reload(command) => command.run(&cli.global),
        Command::Ready(command) => command.run(&cli.global),
        #[cfg(feature = "bench")]
        Command::Bench(command) => command.run(&cli.global),
        Command::Config(command) => command.run(&cli.global),
        Command::Completions(command) => {
            command.run();
            Ok(())
        }
        Command::Man(command) => command.run(),
    };
    let (message, code) = match outcome {
        Ok(()) => return ExitCode::SUCCESS,
        Err(CommandFailure::Usage(message)) => (message, 2),
        Err(CommandFailure::Runtime(message)) => (message, 1),
    };
    eprintln!("fanfare: {message}");
    ExitCode::from(code)
}

impl Global {
    fn load(&self, profile: &Profile) -> Result<Loaded, CommandFailure> {
        config::load(&self.sources(profile)?, self.registry).map_err(|errors| bad_configuration(&errors))
    }

    fn config(&self) -> Result<Config, CommandFailure> {
        Ok(self.load(&Profile::default())?.config)
    }

    fn sources(&self, profile: &Profile) -> Result<Sources, CommandFailure> {
        let pair = |set: &String| match set.split_once('=') {
            Some((key, value)) => Ok((key.trim().to_owned(), value.to_owned())),
            None => Err(usage(format!(
                "--set {set}: expected KEY=VALUE, such as log.level=debug"
            ))),
        };
        Ok(Sources {
            file: self.config.clone(),
            profile: profile.profile.clone(),
            dialects: profile.dialect.clone(),
            overrides: self.set.iter().map(pair).collect::<Result<_, _>>()?,
            ..Sources::from_process()
        })
    }
}

/// Reads a secret from an argument or a variable. Trailing line ends are not part of it.
#[expect(clippy::unnecessary_wraps, reason = "clap's form of a parser")]
fn secret(text: &str) -> Result<String, std::convert::Infallible> {
    Ok(config::without_line_ends(text).to_owned())
}

/// Runs work on a runtime for commands that make a few requests.
fn block_on<T>(work: impl Future<Output = Result<T, CommandFailure>>) -> Result<T, CommandFailure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("cannot start: {error}"))?;
    runtime.block_on(work)
}
