//! `fanfare publish`: publishes an event by the service API.

use clap::{ArgGroup, Args};
use serde_json::{Value, json, value::RawValue};

use super::{CommandFailure, Global, Outcome, block_on, output, remote::RemoteServer, usage};

#[derive(Args)]
#[command(group(ArgGroup::new("to").required(true).args(["user", "channel", "everyone"])))]
pub(super) struct Publish {
    /// Publish to every connection of this user
    #[arg(long, value_name = "ID")]
    user: Option<String>,
    /// Publish to the subscribers of this channel
    #[arg(long, value_name = "NAME")]
    channel: Option<String>,
    /// Publish to every connection
    #[arg(long)]
    everyone: bool,
    /// The event's type
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,
    /// An idempotency key of 1 to 128 bytes: a repeat within ten minutes is not published again
    #[arg(long, value_name = "TEXT")]
    id: Option<String>,
    #[command(flatten)]
    server: RemoteServer,
    /// The event's data: any JSON value
    data: String,
}

impl Publish {
    pub(super) fn run(&self, global: &Global) -> Outcome {
        let config = global.config()?;
        let api = self.server.api(&config)?;
        let text = block_on(api.post("/api/v1/events", self.body()?))?;
        output::line(text);
        Ok(())
    }

    /// Returns the request's body, with the data byte for byte as given.
    fn body(&self) -> Result<String, CommandFailure> {
        let data: &RawValue = serde_json::from_str(&self.data).map_err(|error| {
            usage(format!(
                "the data is not JSON: {error} (text needs quotes: '\"text\"')"
            ))
        })?;
        let to = match (&self.user, &self.channel) {
            (Some(user), _) => json!({ "user": user }),
            (None, Some(channel)) => json!({ "channel": channel }),
            (None, None) => json!("everyone"),
        };
        let field = |name, value: &Option<String>| match value {
            Some(text) => format!(r#","{name}":{}"#, Value::from(text.as_str())),
            None => String::new(),
        };
        let (kind, id) = (field("type", &self.kind), field("id", &self.id));
        Ok(format!(r#"{{"to":{to}{kind}{id},"data":{data}}}"#))
    }
}
