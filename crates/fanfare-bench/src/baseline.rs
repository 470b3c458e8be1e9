//! The machine's best case: a process that only writes prepared frames to blocking sockets.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    process::Stdio,
};

use fanfare_ws::{Opcode, encode};

use crate::{FRAME_LEN, HEADER_LEN, child::Child};

/// Runs the baseline's process. It accepts one commander, then `connections` receivers. Each byte from the commander is
/// the number of frames to write to every receiver, in one call each.
///
/// # Errors
/// If a socket fails.
pub fn run(connections: usize) -> io::Result<()> {
    rlimit::increase_nofile_limit(u64::MAX)?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    writeln!(io::stdout(), "{}", listener.local_addr()?.port())?;
    let accept = || {
        let (socket, _) = listener.accept()?;
        socket.set_nodelay(true)?;
        io::Result::Ok(socket)
    };
    let mut commander = accept()?;
    let receivers: Vec<_> = (0..connections).map(|_| accept()).collect::<io::Result<_>>()?;
    let frame = encode::frame(Opcode::Text, &[b'x'; FRAME_LEN - HEADER_LEN], false);
    let mut count = [0];
    while commander.read(&mut count)? == 1 {
        let frames = frame.repeat(count[0].into());
        for mut socket in &receivers {
            socket.write_all(&frames)?;
        }
    }
    Ok(())
}

pub(crate) struct Baseline {
    pub(crate) child: Child,
    pub(crate) address: SocketAddr,
}

impl Baseline {
    pub(crate) fn start(connections: usize) -> Result<Self, String> {
        let args = ["bench", "baseline", "--connections", &connections.to_string()];
        let mut child = Child::start(&args, Stdio::piped())?;
        let mut line = String::new();
        if let Some(stdout) = child.take_stdout() {
            let read = BufReader::new(stdout).read_line(&mut line);
            read.map_err(|error| format!("baseline: {error}"))?;
        }
        let port = line.trim().parse();
        let port = port.map_err(|_| "the baseline did not start")?;
        Ok(Self {
            child,
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
        })
    }
}
