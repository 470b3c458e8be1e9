//! `fanfare explain`: whether a user may use a channel, and why.

use std::fmt::Write as _; // writing to a string cannot fail

use clap::{ArgGroup, Args};
use fanfare_core::{
    Audience, Identity, format_duration,
    history::Retention,
    policy::{AccessControl, DecidingRule, Permission, Policy},
};
use serde_json::{Value, json};
use tokio::runtime::Handle;

use super::{CommandFailure, Global, Outcome, Profile, block_on, output, token, usage};
use crate::{
    access::{self, ExplainedAction, Webhook},
    auth,
    config::Loaded,
    serve,
};

#[derive(Args)]
#[command(group(ArgGroup::new("who").required(true).args(["user", "anonymous"])))]
pub(super) struct Explain {
    /// The user
    #[arg(long, value_name = "ID")]
    user: Option<String>,
    /// A connection without a token
    #[arg(long)]
    anonymous: bool,
    /// The channel: a room, a personal channel or any other
    #[arg(long, value_name = "NAME")]
    channel: String,
    /// A claim of the user's token, its value in JSON or as plain text; may be repeated
    #[arg(long, value_name = "KEY=JSON", conflicts_with = "anonymous")]
    claim: Vec<String>,
    /// Ask the authorizer if it decides
    #[arg(long)]
    ask: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    profile: Profile,
}

impl Explain {
    pub(super) fn run(&self, global: &Global) -> Outcome {
        let loaded = global.load(&self.profile)?;
        output::text(block_on(self.answer(&loaded))?);
        Ok(())
    }

    async fn answer(&self, loaded: &Loaded) -> Result<String, CommandFailure> {
        let audience = Audience::of_channel(&self.channel)
            .map_err(|error| usage(format!("--channel {:?}: {error}", self.channel)))?;
        let policy = serve::policy(&loaded.config);
        let who = self.identity(&policy)?;
        let room = matches!(&audience, Audience::Channel(channel) if policy.names().is_room(channel));
        let access = AccessControl::new(policy, None);
        let mut decisions = access::decide(&access, who.as_ref(), &audience, room);
        let history = access.explain_history(&audience);
        if self.ask {
            ask(loaded, &mut decisions).await?;
        }
        Ok(if self.json {
            let mut json = self.as_json(loaded, room, &decisions);
            if let Some((retention, rule)) = history {
                json["history"] = json!({
                    "size": retention.size,
                    "ttl": format_duration(retention.ttl),
                    "rule": rule.map(|rule| rule.number),
                });
            }
            format!("{json}\n")
        } else {
            self.as_text(loaded, &audience, room, &decisions) + &kept(history)
        })
    }

    /// Returns the identity that the server would read from a token with these claims.
    fn identity(&self, policy: &Policy) -> Result<Option<Identity>, CommandFailure> {
        let Some(user) = &self.user else {
            return Ok(None);
        };
        fanfare_core::UserId::new(user).map_err(|error| usage(format!("--user: {error}")))?;
        let claims = token::claims(&self.claim)?;
        Ok(auth::hypothetical(user, claims, &policy.wanted_claims()))
    }

    fn as_text(
        &self,
        loaded: &Loaded,
        audience: &Audience,
        room: bool,
        decisions: &[ExplainedAction],
    ) -> String {
        let who = self.user.as_ref().map(|user| format!("{user:?}"));
        let who = who.unwrap_or_else(|| "an anonymous connection".to_owned());
        let kind = match audience {
            Audience::User(_) => ", a personal channel",
            _ if room => ", a room",
            Audience::Channel(_) | Audience::Everyone => "",
        };
        let mut text = format!("{who} on {:?}{kind}\n", self.channel);
        for decision in decisions {
            let explained = &decision.explained;
            let rule = explained.rule.as_ref();
            let place = rule.map(|_| format!(" ({})", rule_origin(loaded, decision)));
            let place = place.unwrap_or_default();
            let (what, verdict, reason) = (decision.action, words(&explained.permission), &explained.reason);
            let _ = writeln!(text, "  {what:<10} {verdict:<22} {reason}{place}");
        }
        text
    }

    fn as_json(&self, loaded: &Loaded, room: bool, decisions: &[ExplainedAction]) -> Value {
        let decision = |decision: &ExplainedAction| {
            let mut json = json!({
                "action": decision.action,
                "verdict": decision.verdict(),
                "decided_by": decision.explained.code,
                "reason": decision.explained.reason,
            });
            if let Some(rule) = &decision.explained.rule {
                json["rule"] = rule.number.into();
                json["pattern"] = rule.pattern.as_str().into();
                json["place"] = rule_origin(loaded, decision).into();
            }
            json
        };
        json!({
            "user": self.user,
            "channel": self.channel,
            "room": room,
            "decisions": decisions.iter().map(decision).collect::<Vec<_>>(),
        })
    }
}

/// Returns the channel's retention as a line; an empty text if nothing is kept.
fn kept(history: Option<(Retention, Option<DecidingRule>)>) -> String {
    let Some((Retention { size, ttl }, rule)) = history else {
        return String::new();
    };
    let by = rule.map_or_else(
        || "[history]".to_owned(),
        |rule| format!("rule {}, {:?}", rule.number, rule.pattern),
    );
    format!(
        "  {:<10} the newest {size} events, for {} ({by})\n",
        "history",
        format_duration(ttl)
    )
}

/// Returns the origin of the rule that decided.
fn rule_origin(loaded: &Loaded, decision: &ExplainedAction) -> String {
    let rule = decision.explained.rule.as_ref();
    let origin = rule.map(|rule| loaded.origins.of(&format!("channel[{}]", rule.number - 1)));
    origin.map(ToString::to_string).unwrap_or_default()
}

/// Replaces open decisions by the authorizer's answers.
async fn ask(loaded: &Loaded, decisions: &mut [ExplainedAction]) -> Result<(), CommandFailure> {
    let Some(webhook) = Webhook::new(&loaded.config.authorizer, Handle::current())? else {
        return Ok(());
    };
    for ExplainedAction { explained, .. } in decisions {
        let open = match &explained.permission {
            Permission::Allowed | Permission::Denied => continue,
            Permission::Pending(open) => open,
        };
        let answer = open.ask_by(async |question| webhook.try_out(question).await);
        (explained.permission, explained.reason) = match answer.await {
            Ok(true) => (Permission::Allowed, "the authorizer allows it".to_owned()),
            Ok(false) => (Permission::Denied, "the authorizer refuses it".to_owned()),
            Err(reason) => (
                Permission::Denied,
                format!("the authorizer gave no answer, so the action is denied: {reason}"),
            ),
        };
    }
    Ok(())
}

fn words(permission: &Permission) -> &'static str {
    match permission {
        Permission::Allowed => "allowed",
        Permission::Denied => "refused",
        Permission::Pending(_) => "the authorizer decides",
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::config::{self, Sources};

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        explain: Explain,
    }

    const RULES: &str = r#"
[[channel]]
pattern = "reports.{user}.**"
subscribe = "owner"
publish = "service"

[[channel]]
pattern = "project:*"
join = "role:staff"
publish = "claim:plan=pro"
"#;

    /// Returns the command's output, with `FILE` for the configuration file, or its error.
    fn explain(toml: &str, arguments: &[&str]) -> Result<String, String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("fanfare.toml");
        std::fs::write(&file, toml).unwrap();
        let sources = Sources {
            file: Some(file.clone()),
            ..Sources::default()
        };
        let loaded = config::load(&sources, fanfare_dialects::REGISTRY).unwrap();
        let arguments = ["explain"].iter().chain(arguments);
        let command = Command::try_parse_from(arguments).map_err(|error| format!("{:?}", error.kind()))?;
        let answer = block_on(command.explain.answer(&loaded));
        let hide = |text: String| text.replace(&file.display().to_string(), "FILE");
        answer.map(hide).map_err(|failure| match failure {
            CommandFailure::Usage(text) => text,
            CommandFailure::Runtime(text) => panic!("{text}"),
        })
    }

    fn check(toml: &str, arguments: &str, expected: &[&str]) {
        let arguments: Vec<&str> = arguments.split_whitespace().collect();
        let found = explain(toml, &arguments).unwrap();
        assert_eq!(found.lines().collect::<Vec<_>>(), expected, "{arguments:?}");
    }

    #[test]
    fn rules() {
        check(
            RULES,
            "--user 7 --channel reports.7.sales",
            &[
                r#""7" on "reports.7.sales""#,
                r#"  subscribe  allowed                rule 1, "reports.{user}.**": subscribe = "owner" (FILE:2)"#,
                r#"  publish    refused                rule 1, "reports.{user}.**": publish = "service" (FILE:2)"#,
            ],
        );
        check(
            RULES,
            r#"--user 7 --channel project:1 --claim roles=["staff"] --claim plan=free"#,
            &[
                r#""7" on "project:1", a room"#,
                r#"  subscribe  allowed                rule 2, "project:*": join = "role:staff" (FILE:7)"#,
                r#"  join       allowed                rule 2, "project:*": join = "role:staff" (FILE:7)"#,
                r#"  publish    refused                rule 2, "project:*": publish = "claim:plan=pro" (FILE:7)"#,
            ],
        );
    }

    #[test]
    fn defaults() {
        check(
            RULES,
            "--anonymous --channel project:1",
            &[
                r#"an anonymous connection on "project:1", a room"#,
                "  subscribe  refused                an anonymous connection never sees a room",
                "  join       refused                an anonymous connection never sees a room",
                "  publish    refused                an anonymous connection never sees a room",
            ],
        );
        check(
            "",
            r#"--user 7 --channel task:1 --claim rooms=["task:*"]"#,
            &[
                r#""7" on "task:1", a room"#,
                "  subscribe  allowed                the claim \"rooms\" of the token",
                "  join       allowed                the claim \"rooms\" of the token",
                "  publish    allowed                the claim \"rooms\" of the token",
            ],
        );
        check(
            "",
            "--user 7 --channel user_noti:8",
            &[
                r#""7" on "user_noti:8", a personal channel"#,
                "  subscribe  refused                another user's personal channel",
                "  publish    refused                no client publishes on a personal channel",
            ],
        );
    }

    #[test]
    fn authorizers() {
        let toml = "authorizer.url = \"http://127.0.0.1:1/\"";
        let open = "no rule decides it, and an authorizer is configured";
        check(
            toml,
            "--user 7 --channel a",
            &[
                r#""7" on "a""#,
                &format!("  subscribe  the authorizer decides {open}"),
                &format!("  publish    the authorizer decides {open}"),
            ],
        );
        let found = explain(toml, &["--user", "7", "--channel", "a", "--ask"]).unwrap();
        let no = "refused                the authorizer gave no answer, so the action is denied: ";
        assert_eq!(found.matches(no).count(), 2, "{found}");
    }

    #[test]
    fn for_programs() {
        let json = |arguments: &[&str]| -> Value {
            serde_json::from_str(&explain(RULES, arguments).unwrap()).unwrap()
        };
        let found = json(&["--user", "7", "--channel", "reports.8.x", "--json"]);
        let rule = json!({"action": "subscribe", "verdict": "refused", "decided_by": "rule", "rule": 1,
            "pattern": "reports.{user}.**", "place": "FILE:2",
            "reason": "rule 1, \"reports.{user}.**\": subscribe = \"owner\""});
        assert_eq!(found["decisions"][0], rule);
        assert_eq!(
            (&found["user"], &found["channel"], &found["room"]),
            (&json!("7"), &json!("reports.8.x"), &json!(false))
        );
        let found = json(&["--anonymous", "--channel", "a", "--json"]);
        let open = json!({"action": "publish", "verdict": "allowed", "decided_by": "public",
            "reason": "the channel is public"});
        assert_eq!((&found["user"], &found["decisions"][1]), (&Value::Null, &open));
    }

    #[test]
    fn bad_arguments() {
        let cases: [(&[&str], &str); 5] = [
            (
                &["--user", "7", "--channel", "a.*"],
                "--channel \"a.*\": the name is a pattern: a channel's name has no `*`",
            ),
            (&["--user", "", "--channel", "a"], "--user: the name is empty"),
            (
                &["--user", "7", "--channel", "a", "--claim", "x"],
                "--claim x: expected KEY=JSON, such as roles='[\"admin\"]'",
            ),
            (&["--channel", "a"], "MissingRequiredArgument"),
            (
                &["--user", "7", "--anonymous", "--channel", "a"],
                "ArgumentConflict",
            ),
        ];
        for (arguments, expected) in cases {
            assert_eq!(explain("", arguments).unwrap_err(), expected, "{arguments:?}");
        }
    }
}
