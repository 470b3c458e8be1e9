//! Standard output. A closed pipe, as after `head`, is not an error: the reader has what it wanted.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write as _};

/// Prints a line.
pub(super) fn line(text: impl Display) {
    write(format_args!("{text}\n"));
}

/// Prints a text as it is.
pub(super) fn text(text: impl Display) {
    write(text);
}

fn write(text: impl Display) {
    let mut out = io::stdout().lock();
    if let Err(error) = write!(out, "{text}").and_then(|()| out.flush()) {
        let code = i32::from(error.kind() != ErrorKind::BrokenPipe);
        std::process::exit(code);
    }
}
