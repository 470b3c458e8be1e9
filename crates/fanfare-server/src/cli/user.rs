//! `fanfare user`: the accounts, from the command line.

use std::io::Read as _;

use clap::{Args, Subcommand};
use fanfare_accounts::{
    AccountError, Accounts, DEFAULT_ROLE, random_password,
    storage::{Session, User},
};

use super::accounts::{moment, with_accounts};
use super::{CommandFailure, Global, Outcome, output, usage};

/// The number of users that are read at once.
const PAGE: u32 = 500;

#[derive(Subcommand)]
pub(super) enum UserCommand {
    /// Create an account; without --password-stdin, a password is generated and printed
    Add(Add),
    /// Print all users, one a line: id, address, roles, state, last login, name
    List,
    /// Disable an account: its sessions end and its tokens are refused
    Disable(UserArgument),
    /// Enable an account again
    Enable(UserArgument),
    /// Set a user's roles; if a role is removed, the user's sessions end
    SetRole(SetRole),
    /// Set a user's password; their sessions end
    SetPassword(SetPassword),
    /// Print a user's open sessions, the last used first: id, start, last use, end, user agent
    Sessions(UserArgument),
    /// End a user's sessions: their tokens are refused, and their connections close
    Logout(Logout),
    /// Print a token that resets the user's password: once, within an hour, at POST /api/auth/password/reset
    ResetToken(UserArgument),
}

#[derive(Args)]
pub(super) struct Add {
    /// The e-mail address
    #[arg(value_name = "EMAIL")]
    email: String,
    /// Read the password from standard input, to the end of the line
    #[arg(long)]
    password_stdin: bool,
    /// A role; may be repeated [default: user]
    #[arg(long = "role", value_name = "ROLE")]
    roles: Vec<String>,
    /// The user's display name
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
}

#[derive(Args)]
pub(super) struct UserArgument {
    /// The user's address or id
    #[arg(value_name = "USER")]
    user: String,
}

#[derive(Args)]
pub(super) struct SetRole {
    #[command(flatten)]
    which: UserArgument,
    /// The roles
    #[arg(value_name = "ROLE", required = true)]
    roles: Vec<String>,
}

#[derive(Args)]
pub(super) struct SetPassword {
    #[command(flatten)]
    which: UserArgument,
    /// Read the password from standard input, to the end of the line
    #[arg(long)]
    password_stdin: bool,
}

#[derive(Args)]
pub(super) struct Logout {
    #[command(flatten)]
    which: UserArgument,
    /// End this session only
    #[arg(long, value_name = "ID")]
    session: Option<String>,
}

impl UserCommand {
    pub(super) fn run(&self, global: &Global) -> Outcome {
        match self {
            Self::Add(add) => add.run(global),
            Self::List => with_accounts(global, async |accounts| list(accounts).await),
            Self::Disable(which) => which.set_disabled(global, true),
            Self::Enable(which) => which.set_disabled(global, false),
            Self::SetRole(SetRole { which, roles }) => which.with_user(global, async |accounts, user| {
                accounts.set_roles(&user.id, roles).await
            }),
            Self::SetPassword(change) => change.run(global),
            Self::Sessions(which) => which.with_user(global, async |accounts, user| {
                print_sessions(&accounts.sessions(&user.id).await?);
                Ok(())
            }),
            Self::Logout(logout) => logout.run(global),
            Self::ResetToken(which) => {
                let made = which.with_user(global, async |accounts, user| {
                    accounts.create_reset_token(&user.id).await
                })?;
                output::line(made.token);
                Ok(())
            }
        }
    }
}

impl Add {
    fn run(&self, global: &Global) -> Outcome {
        let password = Password::new(self.password_stdin)?;
        let default = [DEFAULT_ROLE.to_owned()];
        let roles = if self.roles.is_empty() {
            &default[..]
        } else {
            &self.roles
        };
        let user = with_accounts(global, async |accounts| {
            accounts
                .create_user(&self.email, &password.text, self.name.as_deref(), roles)
                .await
        })?;
        output::line(format_args!("id        {}", user.id));
        password.print();
        Ok(())
    }
}

impl SetPassword {
    fn run(&self, global: &Global) -> Outcome {
        let password = Password::new(self.password_stdin)?;
        self.which.with_user(global, async |accounts, user| {
            accounts.set_password(&user.id, &password.text).await
        })?;
        password.print();
        Ok(())
    }
}

impl Logout {
    fn run(&self, global: &Global) -> Outcome {
        let ended = self.which.with_user(global, async |accounts, user| {
            let mut sessions = accounts.sessions(&user.id).await?;
            if let Some(only) = &self.session {
                sessions.retain(|session| session.id == *only);
                if sessions.is_empty() {
                    return Err(AccountError::NotFound("session"));
                }
            }
            for session in &sessions {
                match accounts.terminate(&session.id).await {
                    // The session has expired meanwhile.
                    Ok(()) | Err(AccountError::NotFound(_)) => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(sessions.len())
        })?;
        output::line(format_args!("ended  {ended}"));
        Ok(())
    }
}

impl UserArgument {
    fn with_user<T>(
        &self,
        global: &Global,
        work: impl AsyncFnOnce(&Accounts, User) -> Result<T, AccountError>,
    ) -> Result<T, CommandFailure> {
        with_accounts(global, async |accounts| {
            let user = if self.user.contains('@') {
                accounts.user_by_email(&self.user).await?
            } else {
                accounts.user(&self.user).await?
            };
            work(accounts, user).await
        })
    }

    fn set_disabled(&self, global: &Global, disabled: bool) -> Outcome {
        self.with_user(global, async |accounts, user| {
            accounts.set_disabled(&user.id, disabled).await
        })
    }
}

async fn list(accounts: &Accounts) -> Result<(), AccountError> {
    let mut after = String::new();
    loop {
        let page = accounts.users(&after, PAGE).await?;
        for user in &page {
            output::line(format_args!(
                "{}\t{}\t{}\t{}\t{}\t{}",
                user.id,
                user.email,
                user.roles.join(","),
                user.disabled_at.map_or("enabled", |_| "disabled"),
                moment(user.last_login_at),
                user.name.as_deref().unwrap_or("-"),
            ));
        }
        match page.last() {
            Some(last) if page.len() == PAGE as usize => after.clone_from(&last.id),
            _ => return Ok(()),
        }
    }
}

fn print_sessions(sessions: &[Session]) {
    for session in sessions {
        output::line(format_args!(
            "{}\t{}\t{}\t{}\t{}",
            session.id,
            moment(Some(session.created_at)),
            moment(Some(session.last_used_at)),
            moment(Some(session.expires_at)),
            session.user_agent.as_deref().unwrap_or("-"),
        ));
    }
}

struct Password {
    text: String,
    is_generated: bool,
}

impl Password {
    fn new(from_stdin: bool) -> Result<Self, CommandFailure> {
        let text = if from_stdin {
            read_line()?
        } else {
            random_password()
        };
        Ok(Self {
            text,
            is_generated: !from_stdin,
        })
    }

    fn print(&self) {
        if self.is_generated {
            output::line(format_args!("password  {}", self.text));
        }
    }
}

fn read_line() -> Result<String, CommandFailure> {
    const MOST: u64 = 4096; // more than any password, and a bound for a large file
    let mut text = String::new();
    let read = std::io::stdin().take(MOST).read_to_string(&mut text);
    read.map_err(|error| usage(format!("the password cannot be read: {error}")))?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}
