//! A process of this very binary, which ends with whoever holds it.

use std::{
    env,
    ffi::OsStr,
    process::{self, Command, ExitStatus, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::time::{Instant, sleep};

/// A server that has no connections drains at once.
const STOP_PATIENCE: Duration = Duration::from_secs(10);

/// A running `fanfare …`.
pub(crate) struct Child(process::Child);

impl Child {
    /// Starts this binary with `args`, without any environment that could change what is measured.
    pub(crate) fn start<A: AsRef<OsStr>>(args: &[A], stdout: Stdio) -> Result<Self, String> {
        let failed = |error| format!("cannot start a process of this binary: {error}");
        let binary = env::current_exe().map_err(failed)?;
        let mut command = Command::new(binary);
        command.args(args).env_clear().stdin(Stdio::null()).stdout(stdout);
        command.spawn().map(Self).map_err(failed)
    }

    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    pub(crate) fn take_stdout(&mut self) -> Option<process::ChildStdout> {
        self.0.stdout.take()
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.0.try_wait().ok().flatten()
    }

    /// Asks it to end, as an operator would, and waits until it has.
    ///
    /// # Errors
    /// When it does not end in time; then it is killed.
    pub(crate) async fn stop(mut self) -> Result<ExitStatus, String> {
        if let Some(pid) = i32::try_from(self.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::TERM); // one that is gone already is found so below
        }
        let deadline = Instant::now() + STOP_PATIENCE;
        while Instant::now() < deadline {
            if let Some(status) = self.ended() {
                return Ok(status);
            }
            sleep(Duration::from_millis(10)).await;
        }
        Err(format!(
            "the process did not end within {STOP_PATIENCE:?} of SIGTERM"
        ))
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.ended().is_none() {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
}
