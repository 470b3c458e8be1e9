//! The form of transcripts. `#` begins a comment, `== title` a scene, and each further line is a step. The title becomes the
//! test's name. The time is always 2025-01-21T10:30:00.123Z.
//!
//! ```text
//! == a room is joined twice
//! given alice
//! > {"type":"join_room","room":"channel:456"}
//! ask join channel:456
//! answer joined
//! < {"type":"joined_room","room":"channel:456",…}
//! ```
//! Inputs of the dialect. The dialect's actions must follow before the next input:
//!
//! ```text
//! given TITLE                           plays the scene TITLE of the folder's `given.txt` without a check: that scene is a
//!                                       separate test
//! options {"key": value}                opens the dialect with these options (TOML values, as in the configuration)
//! open [USER] [CLAIMS]                  opens a connection of that user, or an anonymous one (`-`); CLAIMS is a JSON object:
//!                                       {"username": "…", "numeric": true, "roles": ["…"]}
//! asks QUERY                            the next connection requests this in its handshake: missed events, rooms, channels
//! name NAME                             names the next connection
//! > TEXT        >> HEX                  the client sends text, or bytes
//! answer ANSWER [resume CURSOR COUNT|REASON]   the server replies to the oldest open question (see below)
//! timer, expired, limited               the timer fires; the credential expires; a message over the rate was dropped
//! caught-up                             the missed events have been sent
//! lapsed CHANNEL                        the credential of one subscription expires
//! joins USER [CLAIMS]                   a user's first connection joins a room; then `announces TYPE JSON`, or nothing
//! leaves USER [CLAIMS]                  a user's last connection leaves a room; then the same
//! publish user:U|channel:C|everyone TYPE|- JSON [metadata JSON] [sender ID [USERNAME]] [at CURSOR]
//! missed CURSOR REASON                  the server cannot send the missed events to a connection with cursors
//! offer [PATH?][QUERY] [| HEADER: VALUE]…      an upgrade request; then `offered …` or `rejected …`
//! claims [QUERY] [| HEADER: VALUE]…     an upgrade request to a path that two dialects share; then `true` or `false`
//! recognizes TEXT                       a message from a client of the dialect that shares the path; then `true` or `false`
//! admit [USER] [CLAIMS]                 an identity asks for admission; then `admitted` or `rejected …`
//! refuse REASON [NAME]                  the server refuses a connection; then `rejected …`
//! put-off REASON [QUERY] [| HEADER: VALUE]…    the server refuses a request for now; then the body instead, or `no`
//! end REASON                            the server ends an open connection; then its last message, if any, and `close …`
//! ping, tick COUNT, drain               the server pings; sends its test notification; begins to drain
//! call METHOD PATH [BODY]               a request to one of the dialect's own routes; then `reply …`, or `publishes …`
//! receipt QUEUED [degraded]             the broker's receipt for that; then `reply …`
//! report [draining]                     the server's report for a route that needs one; then `reply …`
//! fail STATUS MESSAGE                   the server refuses a request to such a route; then `reply …`
//! health, metrics                       the dialect's part of those routes; then `fields …`
//! listen [token T] [own] [CHANNEL]…     `fanfare listen` makes its plan; then `connects TARGET`, `sends FRAME` for each
//!                                       and `confirmations COUNT`, or `no way`
//! receives TEXT                         it receives a message; then `event`, `confirmed`, `refused WORDS` or `other`
//! ```
//!
//! Actions of the dialect, exactly and in this order:
//!
//! ```text
//! < TEXT        << HEX                  the client receives this; `< A | B` is a part of a response in two forms
//! ask COMMAND                           it asks the server; the forms are in `words.rs`
//! pinged                                the client pinged, or answered a ping, with a message of the dialect
//! timer SECONDS, timer off              it sets or stops its timer
//! pause                                 it requests no more events
//! close CODE REASON                     it closes the connection
//! ends REASON                           it requests that the server ends the connection for that reason
//! nothing                               no action; for readers
//! ```
//!
//! Answers: `answer resumed`, `answer authenticated USER [CLAIMS]`, `answer subscribed ok|DENIAL…`, `answer unsubscribed`,
//! `answer joined [USER [CLAIMS]; …]`, `answer left`, `answer published`, `answer facts`,
//! `answer denied DENIAL`.

use std::collections::HashSet;

/// A scene of a transcript.
pub(crate) struct Scene<'a> {
    pub(crate) title: &'a str,
    /// Its lines, comments included.
    pub(crate) body: &'a str,
    /// Where `body` begins in the file, in bytes.
    pub(crate) start: usize,
}

impl Scene<'_> {
    /// Returns the title as a test's name: letters and digits, the rest as single underscores.
    pub(crate) fn name(&self) -> String {
        let words = self.title.split(|letter: char| !letter.is_alphanumeric());
        let words: Vec<_> = words
            .filter(|word| !word.is_empty())
            .map(str::to_lowercase)
            .collect();
        words.join("_")
    }
}

/// Splits a transcript into its scenes.
///
/// # Errors
///
/// If a step precedes the first scene, or two scenes have one name.
pub(crate) fn parse(text: &str) -> Result<Vec<Scene<'_>>, String> {
    let mut scenes: Vec<Scene<'_>> = Vec::new();
    let mut names = HashSet::new();
    let mut at = 0;
    for (number, line) in (1..).zip(text.split_inclusive('\n')) {
        at += line.len();
        if let Some(title) = line.strip_prefix("== ") {
            let scene = Scene {
                title: title.trim_end(),
                body: "",
                start: at,
            };
            if !names.insert(scene.name()) {
                return Err(format!("{number}: another scene is called '{}'", scene.title));
            }
            scenes.push(scene);
        } else if let Some(scene) = scenes.last_mut() {
            scene.body = &text[scene.start..at];
        } else if !is_comment(line.trim_end()) {
            return Err(format!("{number}: a step before the first scene"));
        }
    }
    Ok(scenes)
}

/// Returns `true` if `line` is not a step.
pub(crate) fn is_comment(line: &str) -> bool {
    line.is_empty() || line.starts_with('#')
}

/// Splits a step into its first word and the rest.
pub(crate) fn split(line: &str) -> (&str, &str) {
    line.split_once(' ').unwrap_or((line, ""))
}

/// Returns `true` if a step is an action of the dialect, and not an input.
pub(crate) fn is_expected(line: &str) -> bool {
    match split(line) {
        ("timer", rest) => !rest.is_empty(),
        (word, _) => ACTIONS.contains(&word),
    }
}

/// The first words of the dialect's actions; `timer` is the only one that is also an input.
const ACTIONS: [&str; 26] = [
    "retry:",
    "<",
    "<<",
    "ask",
    "pinged",
    "pause",
    "close",
    "ends",
    "nothing",
    "offered",
    "rejected",
    "admitted",
    "true",
    "false",
    "announces",
    "reply",
    "publishes",
    "fields",
    "connects",
    "sends",
    "confirmations",
    "no",
    "event",
    "confirmed",
    "refused",
    "other",
];
