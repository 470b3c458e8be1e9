//! Fanfare.

pub mod cli {
    //! The commands of the binary `fanfare`.

    pub mod config_command;
}
pub mod config;
