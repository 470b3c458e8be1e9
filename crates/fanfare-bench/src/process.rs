//! The resources that a process has used, from `/proc`.

use crate::figures::{Kind, Workload};
use std::{
    fmt::Display,
    fs,
    time::{Duration, Instant},
};

/// The unit of CPU time in `/proc`, which does not depend on the kernel's clock.
const TICKS_PER_SECOND: u32 = 100;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CpuTime {
    pub(crate) user: Duration,
    pub(crate) system: Duration,
}

impl CpuTime {
    fn of(process: impl Display) -> Result<Self, String> {
        read(process, "stat", parse_stat)
    }

    fn since(self, earlier: Self) -> Self {
        Self {
            user: self.user.saturating_sub(earlier.user),
            system: self.system.saturating_sub(earlier.system),
        }
    }

    pub(crate) fn total(self) -> Duration {
        self.user + self.system
    }
}

/// The user-space memory of a process, in bytes; the kernel's socket buffers are not in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Memory {
    /// Its own pages, and its share of shared ones.
    pub(crate) pss: u64,
    pub(crate) private: u64,
}

impl Memory {
    pub(crate) fn of(pid: u32) -> Result<Self, String> {
        read(pid, "smaps_rollup", parse_smaps_rollup)
    }
}

/// A period in which the server and the generator are measured.
pub(crate) struct Window {
    pid: u32,
    opened: Instant,
    server: CpuTime,
    generator: CpuTime,
}

/// The result of a [`Window`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spent {
    pub(crate) wall: Duration,
    pub(crate) server: CpuTime,
    pub(crate) generator: CpuTime,
}

impl Spent {
    pub(crate) fn server_cores(&self) -> f64 {
        self.server.total().as_secs_f64() / self.wall.as_secs_f64()
    }

    /// Returns the load of the generator's only core. At 1, the generator limits the figures, not the server.
    pub(crate) fn generator_cores(&self) -> f64 {
        self.generator.total().as_secs_f64() / self.wall.as_secs_f64()
    }
}

/// The figures of [`Spent::server_cores`] and [`Spent::generator_cores`].
pub(crate) const SERVER_BUSY: Kind = Kind::new("server busy", "cores");
pub(crate) const GENERATOR_BUSY: Kind = Kind::new("generator busy", "cores");

/// The work of a server in a [`Window`]: the number of events, deliveries or handshakes, and their cost.
pub(crate) struct Measured {
    pub(crate) count: u64,
    pub(crate) spent: Spent,
}

#[allow(clippy::cast_precision_loss, reason = "it is rounded to a few digits anyway")]
impl Measured {
    /// Returns the number per second.
    pub(crate) fn rate(&self) -> f64 {
        self.count as f64 / self.spent.wall.as_secs_f64()
    }

    /// Returns the microseconds of `cpu` per unit of work.
    pub(crate) fn micros_each(&self, cpu: Duration) -> f64 {
        cpu.as_secs_f64() * 1e6 / self.count as f64
    }

    /// Records the rate, the rate per second of CPU, the CPU time per unit in user space and in the kernel, and the busy
    /// cores.
    pub(crate) fn record(&self, workload: &mut Workload, kinds: &[Kind; 6]) {
        let cpu = self.spent.server;
        let values = [
            self.rate(),
            self.count as f64 / cpu.total().as_secs_f64(),
            self.micros_each(cpu.user),
            self.micros_each(cpu.system),
            self.spent.server_cores(),
            self.spent.generator_cores(),
        ];
        for (kind, value) in kinds.iter().zip(values) {
            workload.record(*kind, value);
        }
    }
}

impl Window {
    /// Begins to measure the process `pid`, and this one as the generator.
    pub(crate) fn open(pid: u32) -> Result<Self, String> {
        let (server, generator) = (CpuTime::of(pid)?, CpuTime::of("self")?);
        Ok(Self {
            pid,
            opened: Instant::now(),
            server,
            generator,
        })
    }

    pub(crate) fn is_over(&self, length: Duration) -> bool {
        self.opened.elapsed() >= length
    }

    pub(crate) fn close(self) -> Result<Spent, String> {
        Ok(Spent {
            wall: self.opened.elapsed(),
            server: CpuTime::of(self.pid)?.since(self.server),
            generator: CpuTime::of("self")?.since(self.generator),
        })
    }
}

fn read<T>(process: impl Display, file: &str, parse: fn(&str) -> Option<T>) -> Result<T, String> {
    let path = format!("/proc/{process}/{file}");
    let text = fs::read_to_string(&path).map_err(|error| format!("{path}: {error} (this needs Linux)"))?;
    parse(&text).ok_or_else(|| format!("{path}: not in the form known from Linux"))
}

/// Parses `utime` and `stime` of `proc_pid_stat(5)`. The process's name, in parentheses, may have any characters.
fn parse_stat(text: &str) -> Option<CpuTime> {
    let (_, after_name) = text.rsplit_once(')')?;
    let mut fields = after_name.split_ascii_whitespace().skip(11);
    let mut next = || Some(Duration::from_secs(1) * fields.next()?.parse().ok()? / TICKS_PER_SECOND);
    Some(CpuTime {
        user: next()?,
        system: next()?,
    })
}

/// Parses the sums of `proc_pid_smaps(5)`, which are in kibibytes.
fn parse_smaps_rollup(text: &str) -> Option<Memory> {
    let sum = |wanted: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(wanted))?;
        let kibibytes: u64 = line.strip_suffix("kB")?.trim().parse().ok()?;
        Some(kibibytes * 1024)
    };
    Some(Memory {
        pss: sum("Pss:")?,
        private: sum("Private_Clean:")? + sum("Private_Dirty:")?,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_process_name_with_parentheses_does_not_hide_its_cpu_time() {
        let stat = "321 (a) b (c) S 1 321 321 0 -1 4194560 2019 0 1 0 1234 50 7 8 20 0 3 0 100 200 300";
        let time = parse_stat(stat).unwrap();
        assert_eq!(
            time,
            CpuTime {
                user: Duration::from_millis(12_340),
                system: Duration::from_millis(500)
            }
        );
        assert_eq!(time.total(), Duration::from_millis(12_840));
        assert_eq!(parse_stat("321 (cut) S 1 2"), None);
    }

    #[test]
    fn memory_is_the_sum_of_the_lines_with_the_right_names() {
        let rollup = "aaaa-ffff ---p 00000000 00:00 0  [rollup]\nRss:  9000 kB\nPss:                1001 kB\n\
                      Pss_Dirty: 7 kB\nPrivate_Clean:  24 kB\nPrivate_Dirty:  1000 kB\nPrivate_Hugetlb: 5 kB\n";
        let memory = parse_smaps_rollup(rollup).unwrap();
        assert_eq!(
            memory,
            Memory {
                pss: 1001 * 1024,
                private: 1024 * 1024
            }
        );
        assert_eq!(parse_smaps_rollup("Rss: 1 kB\n"), None);
    }

    #[test]
    fn a_window_measures_the_cpu_time_and_the_memory_of_this_process() {
        let window = Window::open(std::process::id()).unwrap();
        while CpuTime::of("self").unwrap().since(window.server).total() < Duration::from_millis(30) {
            std::hint::black_box(0);
        }
        let spent = window.close().unwrap();
        assert!(spent.server.total() >= Duration::from_millis(30));
        assert!(spent.generator.total() >= Duration::from_millis(30));
        assert!(Memory::of(std::process::id()).unwrap().private > 0);
    }
}
