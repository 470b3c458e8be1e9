//! The `fanfare` command.

use std::process::ExitCode;

/// Releases memory after a wave of closes, which the system's allocator does not.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    fanfare_server::cli::run(fanfare_dialects::REGISTRY)
}
