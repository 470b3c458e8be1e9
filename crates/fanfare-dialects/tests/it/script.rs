//! The transcripts' form. `#` begins a comment, `== title` a scene, and each further line is a step. The time is always
//! 2025-01-21T10:30:00.123Z.
//!
//! What happens to the dialect:
//!
//! ```text
//! options {"key": value}                this scene's dialect has these options (TOML values, as in the configuration)
//! open [USER] [CLAIMS]                  a connection opens, of that user or of nobody (`-`); CLAIMS is a JSON object:
//!                                       {"username": "…", "numeric": true, "roles": ["…"]}
//! name NAME                             the next connection is called so
//! > TEXT        >> HEX                  the client sends text, or bytes
//! answer …                              the server did what was asked for, or did not (see below)
//! timer, expired, limited               the timer set is over; the credential's time is; a message was dropped
//! joins USER [CLAIMS]                   a user joins a room with a first connection; then `announces TYPE JSON`, or nothing
//! leaves USER [CLAIMS]                  a user leaves a room with the last connection; the same
//! publish user:U|channel:C|everyone TYPE|- JSON [metadata JSON] [sender ID [USERNAME]]
//! offer [QUERY] [| HEADER: VALUE]…      an upgrade request; then `offered …` or `rejected …`
//! claims [QUERY] [| HEADER: VALUE]…     an upgrade request to a path that two dialects share; then `true` or `false`
//! recognizes TEXT                       what a client of the other one says; then `true` or `false`
//! admit [USER] [CLAIMS]                 somebody who proved to be that asks to come in; then `admitted` or `rejected …`
//! refuse REASON [NAME]                  the server's own decision; then `rejected …`
//! end REASON                            the same for an open connection; then `last words`, if any, and `close …`
//! ping, tick COUNT, drain               what the server says by itself
//! call METHOD PATH [BODY]               a request to a route of the dialect's own; then `reply …`
//! receipt QUEUED [degraded]             what a route's plan waits for
//! report [draining]                     the same
//! listen [token T] [own] [CHANNEL]…     what our own command line wants to hear; then `connects TARGET`, `sends FRAME`
//!                                       for each and `confirmations COUNT`, or `no way`
//! hears TEXT                            what it then receives; then `event`, `confirmed`, `refused WORDS` or `other`
//! fail STATUS MESSAGE                   the server refuses a request to such a route; then `reply …`
//! health, metrics                       the dialect's part of those routes; then `fields …`
//! ```
//!
//! What the dialect does, exactly and in this order:
//!
//! ```text
//! < TEXT        << HEX                  the client receives this
//! ask COMMAND                           it asks for something; the forms are in `words.rs`
//! pinged                                the client pinged or answered a ping in the dialect's own words
//! timer SECONDS, timer off, pause       it wants to be called in that time, or not; it wants no more events
//! close CODE REASON                     it closes the connection
//! end REASON                            it ends the connection for a reason of the server's own
//! nothing                               nothing more was seen
//! ```
//!
//! Answers: `answer authenticated USER [CLAIMS]`, `answer subscribed ok|DENIAL…`, `answer unsubscribed`,
//! `answer joined first|another|already`, `answer left last|not-last`, `answer published`, `answer facts`,
//! `answer denied DENIAL`. The oldest question that is unanswered is answered.

/// One scene: a title, and steps with their line numbers.
pub(crate) struct Scene<'a> {
    pub(crate) title: &'a str,
    pub(crate) steps: Vec<Step<'a>>,
}

/// A line: its first word, and what follows.
pub(crate) struct Step<'a> {
    pub(crate) line: usize,
    pub(crate) word: &'a str,
    pub(crate) rest: &'a str,
}

/// Splits a transcript into its scenes.
pub(crate) fn parse(text: &str) -> Vec<Scene<'_>> {
    let mut scenes = Vec::new();
    for (line, content) in (1..).zip(text.lines()) {
        if let Some(title) = content.strip_prefix("== ") {
            scenes.push(Scene {
                title,
                steps: Vec::new(),
            });
        } else if !content.is_empty() && !content.starts_with('#') {
            let (word, rest) = content.split_once(' ').unwrap_or((content, ""));
            let scene = scenes
                .last_mut()
                .unwrap_or_else(|| panic!("line {line}: a step before the first scene"));
            scene.steps.push(Step { line, word, rest });
        }
    }
    scenes
}
