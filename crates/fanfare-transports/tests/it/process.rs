//! A server's process, which ends with the test.

use std::{
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// A running server.
pub(crate) struct Process(Child);

impl Process {
    /// Starts the first of `programs` that is installed.
    ///
    /// # Panics
    /// If none is: a test that needs the server fails without it. The Debian `package` has it.
    pub(crate) fn start(programs: &[&str], package: &str, configure: impl Fn(&mut Command)) -> Self {
        let mut started = programs.iter().map(|program| {
            let mut command = Command::new(program);
            configure(command.stdout(Stdio::null()).stderr(Stdio::null()));
            command.spawn()
        });
        match started.find_map(Result::ok) {
            Some(child) => Self(child),
            None => panic!("{programs:?} do not start: install them with `apt-get install {package}`"),
        }
    }

    /// Waits until the server is ready.
    pub(crate) fn wait(&mut self, is_ready: impl Fn() -> bool) {
        let start = Instant::now();
        while !is_ready() {
            assert!(
                start.elapsed() < Duration::from_secs(30),
                "the server did not start"
            );
            assert_eq!(self.0.try_wait().unwrap(), None, "the server ended");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Ends the process like `kill -9`.
    pub(crate) fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    /// Stops or continues the process, which keeps its connections.
    pub(crate) fn signal(&self, signal: &str) {
        let pid = self.0.id().to_string();
        let status = Command::new("kill").args([signal, &pid]).status().unwrap();
        assert!(status.success());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
