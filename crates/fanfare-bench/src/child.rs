//! A process of this binary, which is killed when its owner is dropped.

use std::{
    env,
    ffi::OsStr,
    process::{self, Command, ExitStatus, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::time::{Instant, sleep};

/// The limit of a stop. A server without connections drains at once.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

pub(crate) struct Child(process::Child);

impl Child {
    /// Starts this binary with `args`, without environment variables that could change the measurement.
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

    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.0.try_wait().ok().flatten()
    }

    /// Stops the process by `SIGTERM`, and kills it if it does not end in time.
    pub(crate) async fn stop(mut self) -> Result<ExitStatus, String> {
        if let Some(pid) = i32::try_from(self.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::TERM); // an ended process is reaped below
        }
        let ended = self.wait(STOP_TIMEOUT).await;
        ended.ok_or_else(|| format!("the process did not end within {STOP_TIMEOUT:?} of SIGTERM"))
    }

    /// Returns the exit status; `None` if the process does not end within `limit`.
    pub(crate) async fn wait(&mut self, limit: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + limit;
        while Instant::now() < deadline {
            if let Some(status) = self.ended() {
                return Some(status);
            }
            sleep(Duration::from_millis(10)).await;
        }
        None
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
