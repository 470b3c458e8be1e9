//! The transcripts' form. `#` begins a comment, `== title` a scene, and each further line is a step:
//!
//! ```text
//! open [USER]                           a connection opens, of that user or of nobody
//! > TEXT        >> HEX                  the client sends text, or bytes
//! < TEXT        << HEX                  the client receives exactly this
//! close CODE REASON                     the server closes
//! publish user:U|channel:C|everyone TYPE|- JSON
//! nothing                               nothing more was received
//! offer [QUERY]                         an upgrade request; then `token T`, `anonymous` or `refused …`
//! refuse REASON, end REASON             the server's own decision; then `refused STATUS [BODY]` or `close …`
//! ```

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
