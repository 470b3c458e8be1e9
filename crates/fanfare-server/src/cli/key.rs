//! `fanfare key`: API keys, from the command line.

use clap::{Args, Subcommand};
use fanfare_accounts::Scope;

use super::accounts::{moment, with_accounts};
use super::{Global, Outcome, output};

#[derive(Subcommand)]
pub(super) enum KeyCommand {
    /// Create a key and print it; it cannot be printed again
    Create(Create),
    /// Print all keys, one a line: id, scopes, state, creation time, name, last use
    List,
    /// Revoke a key; a running server refuses it within seconds
    Revoke(Revoke),
}

#[derive(Args)]
pub(super) struct Create {
    /// The key's name, such as the service that uses it
    #[arg(value_name = "NAME")]
    name: String,
    /// The scope: publish, read or admin; may be repeated [default: publish]
    #[arg(long = "scope", value_name = "SCOPE")]
    scopes: Vec<Scope>,
}

#[derive(Args)]
pub(super) struct Revoke {
    /// The key's id
    #[arg(value_name = "ID")]
    id: String,
}

impl KeyCommand {
    pub(super) fn run(&self, global: &Global) -> Outcome {
        match self {
            Self::Create(create) => create.run(global),
            Self::List => list(global),
            Self::Revoke(Revoke { id }) => {
                with_accounts(global, async |accounts| accounts.revoke_key(id).await)
            }
        }
    }
}

impl Create {
    fn run(&self, global: &Global) -> Outcome {
        let scopes = if self.scopes.is_empty() {
            &[Scope::Publish][..]
        } else {
            &self.scopes
        };
        let (text, key) = with_accounts(global, async |accounts| {
            accounts.create_key(&self.name, scopes).await
        })?;
        output::line(format_args!("id   {}\nkey  {text}", key.id));
        Ok(())
    }
}

fn list(global: &Global) -> Outcome {
    for key in with_accounts(global, async |accounts| accounts.keys().await)? {
        output::line(format_args!(
            "{}\t{}\t{}\t{}\t{}\t{}",
            key.id,
            key.scopes.join(","),
            key.revoked_at.map_or("good", |_| "revoked"),
            moment(Some(key.created_at)),
            key.name,
            moment(key.last_used_at),
        ));
    }
    Ok(())
}
