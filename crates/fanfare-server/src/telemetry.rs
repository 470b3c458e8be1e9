//! Starts the log: lines for people on a terminal, JSON elsewhere.

use std::io::IsTerminal;

use tracing_subscriber::{EnvFilter, Registry, fmt, layer::SubscriberExt, reload, util::SubscriberInitExt};

/// Starts logging to standard error, in lines for people or in JSON. `text` is a level, or directives such as
/// `info,fanfare_engine=debug`.
///
/// # Errors
/// If `text` is not a filter, or logging has started before.
pub fn start(text: &str, for_people: bool) -> Result<LogFilter, String> {
    let filter = filter(text).map_err(|reason| format!("log level {text:?}: {reason}"))?;
    let (filter, handle) = reload::Layer::new(filter);
    let registry = tracing_subscriber::registry().with(filter);
    let layer = fmt::layer().with_writer(std::io::stderr);
    let started = if for_people {
        let is_terminal = std::io::stderr().is_terminal();
        let layer = layer.with_target(false).with_ansi(is_terminal);
        registry.with(layer).try_init()
    } else {
        registry.with(layer.json().flatten_event(true)).try_init()
    };
    started.map_err(|error| error.to_string())?;
    // The message of a panic may contain a client's text; its location does not.
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(place, "a fault in Fanfare; please report it");
    }));
    Ok(LogFilter(handle))
}

/// The filter in force.
pub struct LogFilter(reload::Handle<EnvFilter, Registry>);

impl LogFilter {
    /// Replaces the filter by `text`, a level or directives.
    ///
    /// # Errors
    /// If `text` is not a filter.
    pub fn replace(&self, text: &str) -> Result<(), String> {
        let filter = filter(text).map_err(|reason| format!("log level {text:?}: {reason}"))?;
        self.0.reload(filter).map_err(|error| error.to_string())
    }
}

pub(crate) fn filter(text: &str) -> Result<EnvFilter, String> {
    // A mistyped level would be accepted as a module's name, and silence the log.
    let levels = ["off", "error", "warn", "info", "debug", "trace"];
    if !text.contains(['=', ',']) && !levels.contains(&text.trim().to_ascii_lowercase().as_str()) {
        return Err(format!("expected one of {}, or directives", levels.join(", ")));
    }
    EnvFilter::try_new(directives(text)).map_err(|error| error.to_string())
}

/// Returns the directives of a filter. A bare level applies to Fanfare's own messages: libraries may log clients' texts at
/// their finer levels.
fn directives(filter: &str) -> String {
    match filter.trim().to_ascii_lowercase().as_str() {
        // A directive applies to every target with this prefix: each of Fanfare's crates.
        level @ ("info" | "debug" | "trace") => format!("warn,fanfare={level}"),
        _ => filter.to_owned(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn a_bare_level_is_for_our_own_messages() {
        let logged = tracing_subscriber::registry().with(filter("DEBUG").unwrap());
        tracing::subscriber::with_default(logged, || {
            assert!(tracing::enabled!(target: "fanfare_engine", Level::DEBUG));
            assert!(tracing::enabled!(target: "fanfare_accounts::storage", Level::DEBUG));
            assert!(!tracing::enabled!(target: "hyper::proto", Level::INFO));
            assert!(tracing::enabled!(target: "hyper::proto", Level::WARN));
        });
        for as_given in ["warn", "error", "off", "info,fanfare_engine=debug", "hyper=trace"] {
            assert_eq!(directives(as_given), as_given);
        }
        assert!(filter("trace").is_ok());
    }

    #[test]
    fn a_mistyped_level_is_refused() {
        for (text, good) in [
            ("info", true),
            ("INFO", true),
            ("inof", false),
            ("info,hyper=debug", true),
            ("info,hyper=loud", false),
        ] {
            assert_eq!(filter(text).is_ok(), good, "{text}");
        }
    }
}
