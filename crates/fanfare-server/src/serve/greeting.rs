//! The greeting on standard output: the listening addresses, and two commands to try.

use std::path::Path;

use super::doors::Listening;
use crate::config::{Loaded, Origin};

pub(super) fn log(listening: &[Listening]) {
    for door in listening {
        tracing::info!(address = %door.address, serves = door.serves, "listening");
    }
}

/// Prints the greeting, except in the production profile. `again` calls this binary with the same configuration.
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
            "\nThe server generated a secret that signs tokens. It is in {}.",
            path.display()
        );
    }
    println!("\nTry it, in two other terminals:");
    let (dialect, url) = destination(loaded, listening);
    println!("  {again} listen{dialect}{url} --user alice");
    println!("  {again} publish{url} --user alice '{{\"title\":\"Hello\",\"message\":\"It works\"}}'\n");
}

/// Returns the flags that the commands need to find this server, if its listeners are neither the file's nor the default ones.
fn destination(loaded: &Loaded, listening: &[Listening]) -> (String, String) {
    let known = match loaded.origins.of("listener") {
        Origin::Default | Origin::File { .. } => true,
        Origin::Profile(name) => name == "default",
        _ => false,
    };
    match (loaded.config.listener.first(), listening.first()) {
        (Some(listener), Some(open)) if !known && !listener.has_tls() => {
            let mut address = listener.bind.from_this_machine();
            address.set_port(open.address.port());
            let dialect = listener.dialects.first().map(|name| format!(" --dialect {name}"));
            let url = format!(" --url http://{address}{}", listener.prefix);
            (dialect.unwrap_or_default(), url)
        }
        _ => Default::default(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::config::{self, Sources};

    #[test]
    fn commands_find_a_server_of_chosen_dialects() {
        let check = |dialects: &[&str], port: u16, expected: (&str, &str)| {
            let sources = Sources {
                dialects: dialects.iter().map(|&name| name.to_owned()).collect(),
                ..Sources::default()
            };
            let loaded = config::load(&sources, fanfare_dialects::REGISTRY).unwrap();
            let listening = [Listening {
                address: ([0, 0, 0, 0], port).into(),
                serves: String::new(),
            }];
            let (dialect, url) = destination(&loaded, &listening);
            assert_eq!((dialect.as_str(), url.as_str()), expected, "{dialects:?}");
        };
        check(&[], 8081, ("", ""));
        check(
            &["rooms"],
            8000,
            (" --dialect rooms", " --url http://127.0.0.1:8000"),
        );
        check(
            &["topics", "notify"],
            3000,
            (" --dialect topics", " --url http://127.0.0.1:3000"),
        );
    }
}
