//! What a start says to a person: where it listens, and what to try next.

use std::path::Path;

use super::doors::Listening;
use crate::config::Loaded;

/// Prints to standard output; the production profile has no beginners to greet.
#[allow(
    clippy::print_stdout,
    reason = "this is for the person who started the server, not for its log"
)]
pub(super) fn print(loaded: &Loaded, listening: &[Listening], secret_made: Option<&Path>, again: &str) {
    if loaded.profile == "production" {
        return;
    }
    println!("\nFanfare {} is listening:", env!("CARGO_PKG_VERSION"));
    for door in listening {
        println!("  {:<22} {}", door.address.to_string(), door.serves);
    }
    if let Some(path) = secret_made {
        println!(
            "\nA secret to sign tokens with was made and is kept in {}.",
            path.display()
        );
    }
    println!("\nTry it, in two other terminals:");
    println!("  {again} listen --user alice");
    println!("  {again} publish --user alice '{{\"title\":\"Hello\",\"message\":\"It works\"}}'\n");
}
