//! Plays every dialect's transcripts: the files in its `transcripts` folder, which read as what is sent and received.

mod options;
mod player;
mod script;
mod words;

use std::{fs, path::Path};

#[test]
fn transcripts() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut played = 0;
    for dialect in fanfare_dialects::ALL {
        let folder = source.join(dialect.name()).join("transcripts");
        let files = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        for file in files {
            let path = file.expect("a readable folder").path();
            let text = fs::read_to_string(&path).expect("a readable transcript");
            for scene in script::parse(&text) {
                player::play(*dialect, &scene, &path);
                played += 1;
            }
        }
    }
    assert!(
        played >= fanfare_dialects::ALL.len(),
        "every dialect has transcripts"
    );
}

#[test]
fn names_are_unique() {
    for (number, dialect) in fanfare_dialects::ALL.iter().enumerate() {
        let found = fanfare_dialects::find(dialect.name()).map(|(found, _)| found);
        assert_eq!(found, Some(number), "{} is registered twice", dialect.name());
    }
}
