//! A PostgreSQL server for the tests, on a Unix socket in a temporary folder.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use sqlx::{Connection as _, PgConnection};

pub(crate) struct Postgres {
    folder: tempfile::TempDir,
    programs: PathBuf,
    server: Option<Child>,
}

/// Returns the folder of the newest PostgreSQL that has a server: `VERSION/bin` in `versions`.
fn programs(versions: &Path) -> Option<PathBuf> {
    let number = |path: &PathBuf| path.parent()?.file_name()?.to_str()?.parse::<u32>().ok();
    fs::read_dir(versions)
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .filter(|programs| programs.join("initdb").exists())
        .max_by_key(number)
}

/// Returns the user and the group to run as: PostgreSQL refuses to be root.
fn somebody() -> Option<(u32, u32)> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let passwd = fs::read_to_string("/etc/passwd").unwrap();
    let of = |name: &str| {
        let line = passwd.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut numbers = line.split(':').skip(2).map(str::parse);
        Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
    };
    Some(
        of("postgres")
            .or_else(|| of("nobody"))
            .expect("a user that is not root"),
    )
}

impl Postgres {
    /// Creates a server and starts it.
    ///
    /// # Panics
    ///
    /// If PostgreSQL is not installed: a test that needs it fails without it.
    pub(crate) fn start() -> Self {
        let programs = programs(Path::new("/usr/lib/postgresql"))
            .expect("PostgreSQL is missing: install it with `apt-get install postgresql`");
        // Not below TMPDIR, because another user must have access.
        let folder = tempfile::Builder::new()
            .prefix("fanfare-pg.")
            .tempdir_in("/tmp")
            .unwrap();
        if let Some((user, group)) = somebody() {
            std::os::unix::fs::chown(folder.path(), Some(user), Some(group)).unwrap();
        }
        let mut postgres = Self {
            folder,
            programs,
            server: None,
        };
        let made = postgres
            .command("initdb")
            .args([
                "--username=fanfare",
                "--auth=trust",
                "--encoding=UTF8",
                "--no-locale",
                "--no-sync",
                "-D",
            ])
            .arg(postgres.data())
            .output()
            .unwrap();
        assert!(
            made.status.success(),
            "initdb: {}",
            String::from_utf8_lossy(&made.stderr)
        );
        postgres.restart();
        postgres
    }

    /// Starts it and waits until it accepts connections.
    pub(crate) fn restart(&mut self) {
        let mut command = self.command("postgres");
        command
            .arg("-D")
            .arg(self.data())
            .arg("-k")
            .arg(self.folder.path());
        command.args([
            "-F",
            "-c",
            "listen_addresses=",
            "-c",
            "max_connections=60",
            "-c",
            "shared_buffers=8MB",
        ]);
        let log = fs::File::create(self.folder.path().join("log")).unwrap();
        self.server = Some(command.stderr(log).stdout(Stdio::null()).spawn().unwrap());
        let began = Instant::now();
        while !self.accepts() {
            assert!(
                began.elapsed() < Duration::from_secs(30),
                "PostgreSQL did not start:\n{}",
                self.log()
            );
            assert!(
                self.server.as_mut().unwrap().try_wait().unwrap().is_none(),
                "PostgreSQL ended:\n{}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Kills it, as a power cut would.
    pub(crate) fn kill(&mut self) {
        if let Some(mut server) = self.server.take() {
            // Wait for its children, whose shared memory would prevent a new server from starting.
            let pid = server.id().to_string();
            let _ = Command::new("kill").args(["-QUIT", &pid]).status();
            let _ = server.wait();
        }
    }

    /// Stops or continues the main process and the processes of its connections, which keep their sockets.
    pub(crate) fn signal(&self, signal: &str) {
        let server = self.server.as_ref().unwrap().id().to_string();
        let children = fs::read_to_string(format!("/proc/{server}/task/{server}/children")).unwrap();
        let send = |pid: &str| Command::new("kill").args([signal, pid]).status().unwrap();
        assert!(send(&server).success());
        for child in children.split_whitespace() {
            send(child); // it may have ended meanwhile
        }
    }

    /// Returns the URL of a database.
    pub(crate) fn url(&self, database: &str) -> String {
        format!(
            "postgres://fanfare:hunter2@localhost/{database}?host={}",
            self.folder.path().display()
        )
    }

    /// Creates a database.
    pub(crate) fn create(&self, database: &str) -> String {
        self.execute(&format!("CREATE DATABASE {database}")).unwrap();
        self.url(database)
    }

    /// Runs a statement as the administrator.
    pub(crate) fn execute(&self, statement: &str) -> sqlx::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let mut connection = PgConnection::connect(&self.url("postgres")).await?;
            sqlx::raw_sql(statement).execute(&mut connection).await?;
            connection.close().await
        })
    }

    fn accepts(&self) -> bool {
        self.execute("SELECT 1").is_ok()
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Returns the command of one of PostgreSQL's programs, which ends with the tests.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]).current_dir("/");
        if let Some((user, group)) = somebody() {
            command.args([
                format!("--reuid={user}"),
                format!("--regid={group}"),
                "--clear-groups".to_owned(),
            ]);
        }
        command.arg(Path::new(&self.programs).join(program));
        command
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.kill();
    }
}
