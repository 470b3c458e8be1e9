//! A process of this binary, which ends with its owner.

use std::{
    env,
    ffi::OsStr,
    process::{self, Command, ExitStatus, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::time::{Instant, sleep};

/// How long a stop may take. A server without connections drains at once.
const STOP_PATIENCE: Duration = Duration::from_secs(10);

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

    /// Stops it as an operator would, and waits until it has ended; kills it if that takes too long.
    pub(crate) async fn stop(mut self) -> Result<ExitStatus, String> {
        if let Some(pid) = i32::try_from(self.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::TERM); // a process that has ended already is reaped below
        }
        let ended = self.wait(STOP_PATIENCE).await;
        ended.ok_or_else(|| format!("the process did not end within {STOP_PATIENCE:?} of SIGTERM"))
    }

    /// Returns how it ended; `None` if that takes longer than `patience`.
    pub(crate) async fn wait(&mut self, patience: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + patience;
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
