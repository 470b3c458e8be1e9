//! Plays the transcripts of all dialects: each scene is one test, named `dialect::file::title`.
//!
//! ```sh
//! cargo test -p fanfare-dialects --test it rooms::membership                      # one file's scenes
//! UPDATE_EXPECT=1 cargo test -p fanfare-dialects --test it rooms::membership      # writes the actual results into the file
//! ```

#[path = "../line/mod.rs"]
mod line;
mod player;
mod script;
mod words;

use std::{
    env,
    fs::{self, File},
    io::{Read, Seek, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use fanfare_core::DialectKind;
use libtest_mimic::{Arguments, Failed, Trial};
use similar::TextDiff;

use crate::script::Scene;

/// The file of a dialect with the scenes for `given TITLE`.
const GIVEN: &str = "given.txt";

fn main() -> ExitCode {
    let mut trials = vec![Trial::test("registry::names_are_unique", names_are_unique)];
    let line = &line::KIND;
    let registered = fanfare_dialects::REGISTRY.iter().map(|kind| ("src", kind));
    for (place, kind) in registered.chain([("tests", line)]) {
        let found = scenes(kind, place);
        trials.extend(
            found.unwrap_or_else(|error| vec![Trial::test(kind.name, move || Err(Failed::from(error)))]),
        );
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// Returns one test for each scene of a dialect's transcripts; `place` is the dialect's folder.
fn scenes(kind: &'static DialectKind, place: &str) -> Result<Vec<Trial>, String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join(place)
        .join(kind.name)
        .join("transcripts");
    let within = |error| format!("{}: {error}", folder.display());
    let mut trials = Vec::new();
    for file in fs::read_dir(&folder).map_err(within)? {
        let path = file.map_err(within)?.path();
        let text = fs::read_to_string(&path).map_err(within)?;
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        for scene in script::parse(&text).map_err(|error| format!("{}:{error}", path.display()))? {
            let name = format!("{}::{stem}::{}", kind.name, scene.name());
            let (path, title) = (path.clone(), scene.title.to_owned());
            trials.push(Trial::test(name, move || check(kind, &path, &title)));
        }
    }
    if trials.is_empty() {
        return Err(format!("{}: no transcripts", folder.display()));
    }
    Ok(trials)
}

/// Plays one scene and compares the result with the file, or writes it there.
fn check(kind: &'static DialectKind, path: &Path, title: &str) -> Result<(), Failed> {
    let update = env::var_os("UPDATE_EXPECT").is_some_and(|value| value != "0");
    let mut file = File::options().read(true).write(update).open(path)?;
    if update {
        // Another thread or process may write the file's other scenes at this time.
        file.lock()?;
    }
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    let scene = find(&text, title)?;
    let given = |title: &str| prologue(&path.with_file_name(GIVEN), title);
    let played = player::play(kind, scene.body, &given);
    if played == scene.body {
        return Ok(());
    }
    if update {
        let (before, after) = (&text[..scene.start], &text[scene.start + scene.body.len()..]);
        let updated = [before, &played, after].concat();
        file.set_len(0)?;
        file.rewind()?;
        return Ok(file.write_all(updated.as_bytes())?);
    }
    let line = text[..scene.start].lines().count();
    let place = format!("{}:{line}", path.display());
    let difference = TextDiff::from_lines(scene.body, &played);
    let difference = difference.unified_diff().context_radius(2).to_string();
    Err(format!("{place}: {title}\n- expected, + actual:\n{difference}").into())
}

fn find<'a>(text: &'a str, title: &str) -> Result<Scene<'a>, String> {
    let mut scenes = script::parse(text)?.into_iter();
    scenes
        .find(|scene| scene.title == title)
        .ok_or_else(|| format!("no scene '{title}'"))
}

/// Returns the steps of the scene `title` of `file`.
fn prologue(file: &PathBuf, title: &str) -> Result<String, String> {
    let text = fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    Ok(find(&text, title)?.body.to_owned())
}

fn names_are_unique() -> Result<(), Failed> {
    for (number, dialect) in fanfare_dialects::REGISTRY.iter().enumerate() {
        if fanfare_dialects::REGISTRY.number(dialect.name) != Some(number) {
            return Err(format!("{} is registered twice", dialect.name).into());
        }
    }
    Ok(())
}
