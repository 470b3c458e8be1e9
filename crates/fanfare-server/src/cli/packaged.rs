//! `fanfare completions` and `fanfare man`: files that a package installs beside the program.

use std::path::PathBuf;

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use super::{Cli, Outcome, output};

const NAME: &str = "fanfare";

#[derive(Args)]
pub(super) struct Completions {
    /// The shell that reads them
    shell: Shell,
}

#[derive(Args)]
pub(super) struct Man {
    /// Write the pages of all commands to this folder, which must exist
    #[arg(value_name = "FOLDER")]
    folder: Option<PathBuf>,
}

impl Completions {
    pub(super) fn run(&self) {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), NAME, &mut script);
        print(&script);
    }
}

impl Man {
    pub(super) fn run(&self) -> Outcome {
        let Some(folder) = &self.folder else {
            let mut page = Vec::new();
            let rendered = clap_mangen::Man::new(Cli::command()).render(&mut page);
            rendered.map_err(|error| format!("cannot make the page: {error}"))?;
            print(&page);
            return Ok(());
        };
        let written = clap_mangen::generate_to(Cli::command(), folder);
        Ok(written.map_err(|error| format!("cannot write to {}: {error}", folder.display()))?)
    }
}

fn print(text: &[u8]) {
    output::text(String::from_utf8_lossy(text));
}
