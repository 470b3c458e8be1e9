//! The configuration reference.

use std::fmt::Write as _; // writing to a string cannot fail

use fanfare_core::{Registry, Target, Unit};

use super::guarded;
use crate::config::environment::{self, RESERVED};
use crate::config::file::DEFAULT_FILES;
use crate::config::kind::Key;
use crate::config::kind::Kind;
use crate::config::profile;
use crate::config::schema::{Schema, Section, environment_name, join};

const LAYERS: &str = "\
A setting is looked for in five places; the later beats the earlier:

1. its default,
2. the profile (`--profile NAME` or `FANFARE_PROFILE`),
3. the file,
4. the environment,
5. the command line.

The file is TOML: the one that `--config FILE` or `FANFARE_CONFIG` names, which must exist, or else the first of";

const ADVICE: &str = "\
`fanfare config check` lists every error with file, line and key, and exits with 2 if there is one. `fanfare config
show` prints each effective value and where it was set, without secrets. `fanfare config default` prints an example
file with every setting.

An unknown key is an error, and so is an unknown variable that begins with `FANFARE_`. Relative paths start at the
working directory.";

const DIALECTS: &str = "\
`--dialect NAME`, which may be repeated, serves these dialects alone, each on the first of its addresses, in either of the
first two profiles: `--profile production --dialect topics`. `FANFARE_DIALECTS` is the same for the environment; a dialect that
a flag names takes precedence. `--profile topics` is the older form of `--dialect topics`. Configured listeners name their
dialects themselves: `--dialect` together with them is an error.";

const ENVIRONMENT: &str = "\
Every setting has a variable: `FANFARE_`, then the key in upper case with `_` between its parts. Lists are
separated by commas (`FANFARE_AUTH_ALLOWED_ORIGINS=https://a.example,https://b.example`); repeated tables are TOML
(`FANFARE_LISTENER='[{ bind = \"0.0.0.0:9000\", dialects = [] }]'`). An empty variable counts as not set. The
variables by which Kubernetes describes a service named `fanfare` to its neighbours (`FANFARE_SERVICE_HOST`,
`FANFARE_PORT_8081_TCP`, …) are ignored.";

const INHERITED: &str = "\
Fanfare also accepts these variables of other servers. `FANFARE_…` takes precedence over them, and of several for one key
the first in the table wins. The variables for a host, a port, or whether a dialect is served change the listeners of the
profile. If listeners are configured they have no effect, and the server warns of them.";

const FORMS: &str = "\
| form | written as |
|---|---|
| duration | a number and a unit: `\"500ms\"`, `\"30s\"`, `\"1h 30m\"`, `\"30d\"`; at most ten years |
| address | an IP address, `localhost` or nothing (every address), and a port: `\"0.0.0.0:8081\"`, `\"[::1]:6379\"`, `\"localhost:6379\"`, `\":8081\"` |
| network | an address and the length of its prefix: `\"10.0.0.0/8\"`; a bare address is that one address |
| size | a number of bytes with its unit, `B`, `KiB`, `MiB` or `GiB`: `\"64MiB\"` |
| secret | a string that is never printed |
| URL | a string whose user, password and query are never printed |

Each secret and each URL has a `_file` form, the name of a file that holds the value, as an orchestrator mounts one:
`auth.jwt_secret_file = \"/run/secrets/jwt\"`, `broker.url_file`, `api.keys_file`; in the environment
`FANFARE_AUTH_JWT_SECRET_FILE`. A list has one value on each line. Line ends at the end of the file do not count. Set a key or its
`_file` form, not both. A reload reads the files again.";

/// Returns the reference of all settings, as Markdown.
pub fn reference(registry: Registry) -> String {
    let schema = Schema::new(registry);
    let mut text = String::from("# Configuration\n\n");
    text.push_str(
        "<!-- Generated from the declarations in crates/fanfare-server/src/config. Change those. -->\n\n",
    );
    let files = DEFAULT_FILES.map(|file| format!("`{file}`")).join(" and ");
    let _ = write!(
        text,
        "{LAYERS}\n{files} that exists, or none.\n\n{ADVICE}\n\n## Profiles\n\n"
    );
    text.push_str("| profile | what it does |\n|---|---|\n");
    for (name, doc) in profile::list(registry) {
        let _ = writeln!(text, "| `{name}` | {doc} |");
    }
    let _ = writeln!(text, "\n{DIALECTS}");
    let _ = write!(
        text,
        "\n## Environment\n\n{ENVIRONMENT}\n\n| variable | meaning |\n|---|---|\n"
    );
    for (name, doc) in RESERVED {
        let _ = writeln!(text, "| `{name}` | {doc} |");
    }
    inherited(&mut text, registry);
    let _ = writeln!(text, "\n## Forms of values\n\n{FORMS}");
    for section in schema.sections().iter().filter(|section| !section.is_hidden()) {
        let doc = cell(section.doc());
        if section.repeats() {
            let _ = writeln!(text, "\n## `[[{}]]`\n\n{doc}\n", section.path);
            text.push_str("| key | type | default | description |\n|---|---|---|---|\n");
            repeated_rows(&mut text, "", section.keys.iter().copied());
            continue;
        }
        if section.key.is_some() {
            let _ = writeln!(text, "\n## `[{}]`\n\n{doc}\n", section.path);
        } else {
            text.push_str("\n## Top level\n\n");
        }
        rows(&mut text, section);
    }
    text
}

fn inherited(text: &mut String, registry: Registry) {
    let _ = writeln!(text, "\n{INHERITED}\n\n| variable | sets |\n|---|---|");
    for (kind, inherited) in environment::inherited(registry) {
        let unit = match inherited.unit {
            Unit::Plain => "",
            Unit::Seconds => ", a bare number in seconds",
            Unit::Milliseconds => ", a bare number in milliseconds",
        };
        let of = kind.map(|kind| format!("`{}`", kind.name())).unwrap_or_default();
        let what = match inherited.target {
            Target::Key(key) => format!("`{key}`"),
            Target::Port => format!("the port of the listeners with {of}"),
            Target::Host => format!("the host of the listeners with {of}"),
            Target::Enabled => format!("`false` takes {of} off every listener"),
        };
        let _ = writeln!(text, "| `{}` | {what}{unit} |", inherited.variable);
    }
}

fn rows(text: &mut String, section: &Section<'_>) {
    text.push_str("| key | type | default | environment | description |\n|---|---|---|---|---|\n");
    for key in section.keys.iter().filter(|key| !key.is_file_form) {
        let variable = environment_name(&join(&section.path, &key.name));
        let _ = writeln!(
            text,
            "| `{}` | {} | {} | `{variable}` | {} |",
            key.name,
            key.kind.title(),
            default(key),
            cell(&key.doc)
        );
    }
}

fn repeated_rows<'a>(text: &mut String, prefix: &str, keys: impl Iterator<Item = &'a Key>) {
    for key in keys {
        let path = join(prefix, &key.name);
        let (title, default) = (key.kind.title(), default(key));
        let _ = writeln!(text, "| `{path}` | {title} | {default} | {} |", cell(&key.doc));
        if let Kind::Table(keys) = &key.kind {
            repeated_rows(text, &path, keys.iter());
        }
    }
}

fn default(key: &Key) -> String {
    match &key.default {
        Some(value) => format!("`{}`", guarded(&key.kind, value)),
        None if key.required => "must be set".to_owned(),
        None => "none".to_owned(),
    }
}

/// Returns a doc comment as a cell of a Markdown table.
fn cell(doc: &str) -> String {
    doc.split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .replace('|', "\\|")
}
