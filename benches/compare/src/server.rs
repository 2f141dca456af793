//! A server under test: started on an ephemeral port and given cores, measured through `/proc`,
//! killed when dropped.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::CpuSet;
use tempfile::TempDir;

use crate::machine::pinned;
use crate::programs::Program;

/// A server that does not answer PING after this long has failed to start: it may load a large
/// file.
const START_LIMIT: Duration = Duration::from_secs(600);

/// A running server.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    /// Where it listens.
    pub(crate) address: SocketAddr,
    directory: TempDir,
    name: String,
}

impl Server {
    /// Starts `program` with `shards` shards on `cores` and waits until it answers.
    ///
    /// Persistence is off; everything else has its default.
    pub(crate) fn start(program: &Program, shards: u32, cores: &CpuSet) -> Result<Self> {
        Self::start_with(program, shards, cores, &[])
    }

    /// As [`Server::start`], with more arguments.
    pub(crate) fn start_with(
        program: &Program,
        shards: u32,
        cores: &CpuSet,
        arguments: &[String],
    ) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("kvasir-compare-").tempdir()?;
        // The port is free now; should another process take it meanwhile, the server says so.
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let log = File::create(directory.path().join("log"))?;
        let mut command = Command::new("setpriv");
        // The kernel ends the server with this process, even if this process is killed.
        command.args(["--pdeathsig", "KILL", "--"]).arg(&program.path);
        command.args(["--port", &port.to_string(), "--bind", "127.0.0.1"]);
        command.args(["--save", "", "--appendonly", "no"]).args(program.arguments(shards));
        command.args(arguments);
        command.current_dir(directory.path()).stdin(Stdio::null());
        command.stdout(log.try_clone()?).stderr(log);
        let child = pinned(cores, || command.spawn().context("starting a server with setpriv"))??;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut server = Self { child, address, directory, name: program.name.clone() };
        server.wait_until_ready()?;
        Ok(server)
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let started = Instant::now();
        while !self.answers_ping() {
            let exited = self.child.try_wait()?;
            if exited.is_some() || started.elapsed() > START_LIMIT {
                let log = fs::read_to_string(self.directory.path().join("log")).unwrap_or_default();
                bail!("{} did not start; it said:\n{log}", self.name);
            }
            pause(Duration::from_millis(20));
        }
        Ok(())
    }

    fn answers_ping(&self) -> bool {
        let mut reply = [0; 7];
        TcpStream::connect(self.address)
            .and_then(|mut stream| {
                stream.set_read_timeout(Some(Duration::from_secs(1)))?;
                stream.write_all(b"PING\r\n")?;
                stream.read_exact(&mut reply)
            })
            .is_ok_and(|()| reply == *b"+PONG\r\n")
    }

    /// Where the server works.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Ends the server, and leaves its files until what is returned is dropped.
    pub(crate) fn stop_and_keep_directory(self) -> Result<TempDir> {
        let mut server = self;
        let other = tempfile::Builder::new().prefix("kvasir-compare-").tempdir()?;
        Ok(std::mem::replace(&mut server.directory, other))
    }

    /// The reply to a command without arguments that need quoting: its line, or the text in it.
    pub(crate) fn call(&self, line: &str) -> Result<String> {
        let mut stream = BufReader::new(TcpStream::connect(self.address)?);
        stream.get_mut().write_all(format!("{line}\r\n").as_bytes())?;
        let mut reply = String::new();
        stream.read_line(&mut reply).with_context(|| format!("asking for {line}"))?;
        if reply.starts_with('-') {
            bail!("{} replies to {line}: {reply}", self.name);
        }
        let Some(len) = reply.strip_prefix('$') else { return Ok(reply) };
        let mut text = vec![0; len.trim().parse()?];
        stream.read_exact(&mut text)?;
        Ok(String::from_utf8(text)?)
    }

    /// Whether the server has the command `name`.
    pub(crate) fn knows(&self, name: &str) -> Result<bool> {
        let mut stream = TcpStream::connect(self.address)?;
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        stream.write_all(format!("COMMAND INFO {name}\r\n").as_bytes())?;
        // One element, and the first byte of its length; a missing command is a null.
        let mut reply = [0; 6];
        stream.read_exact(&mut reply).context("asking for a command")?;
        Ok(reply.starts_with(b"*1\r\n*") && reply[5] != b'-')
    }

    /// Waits until the server has done what it does after a load (freeing, rehashing), or for two
    /// seconds.
    pub(crate) fn settle(&self) -> Result<()> {
        const STEP: Duration = Duration::from_millis(50);
        const STEPS_MAX: u32 = 40;
        for _ in 0..STEPS_MAX {
            let before = self.cpu_time()?;
            pause(STEP);
            if self.cpu_time()?.saturating_sub(before) < STEP / 20 {
                break;
            }
        }
        Ok(())
    }

    /// Stops the process from running, so that it cannot disturb the other one's measurement.
    pub(crate) fn freeze(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// Lets a frozen process run again.
    pub(crate) fn thaw(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        kill_process(Pid::from_child(&self.child), signal)
            .with_context(|| format!("signalling {}", self.name))
    }

    /// CPU time that all threads of the process have used, in nanoseconds where the kernel keeps
    /// scheduler statistics and in clock ticks (10 ms) elsewhere.
    ///
    /// Threads that ended since the last reading are not in the finer figure; servers that keep
    /// their threads, as all of these do, lose nothing.
    pub(crate) fn cpu_time(&self) -> Result<Duration> {
        match self.scheduled_ns() {
            Some(ns) => Ok(Duration::from_nanos(ns)),
            None => self.cpu_ticks(),
        }
    }

    fn scheduled_ns(&self) -> Option<u64> {
        let mut total = 0_u64;
        for task in fs::read_dir(self.proc("task")).ok()? {
            let statistics = fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
            total += statistics.split_whitespace().next()?.parse::<u64>().ok()?;
        }
        (total > 0).then_some(total)
    }

    fn cpu_ticks(&self) -> Result<Duration> {
        let stat = fs::read_to_string(self.proc("stat"))?;
        // The second field, the name, may hold spaces; it ends at the last parenthesis.
        let (_, fields) = stat.rsplit_once(')').context("reading /proc/PID/stat")?;
        let fields: Vec<&str> = fields.split_whitespace().collect();
        ensure!(fields.len() > 12, "reading /proc/PID/stat");
        let ticks = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
        Ok(Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64))
    }

    /// Resident memory in bytes.
    pub(crate) fn resident_bytes(&self) -> Result<u64> {
        let statm = fs::read_to_string(self.proc("statm"))?;
        let pages: u64 =
            statm.split_whitespace().nth(1).context("reading /proc/PID/statm")?.parse()?;
        Ok(pages * rustix::param::page_size() as u64)
    }

    /// Resident memory of the process and its children, which share what they have not changed.
    /// Where there are children, asking for that stalls them for some milliseconds.
    pub(crate) fn resident_with_children(&self) -> Result<u64> {
        let id = self.child.id();
        let children = fs::read_to_string(self.proc(&format!("task/{id}/children")))?;
        if children.trim().is_empty() {
            return self.resident_bytes();
        }
        let proportional = |id: &str| -> Option<u64> {
            let rollup = fs::read_to_string(format!("/proc/{id}/smaps_rollup")).ok()?;
            let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
            Some(line.trim().trim_end_matches(" kB").parse::<u64>().ok()? * 1024)
        };
        let own = id.to_string();
        // One may end meanwhile.
        Ok(children.split_whitespace().chain([own.as_str()]).filter_map(proportional).sum())
    }

    /// Resident memory once it has not changed for twelve seconds: background rehashing goes on
    /// after a load, and the servers' allocators return dirty pages only ten seconds later.
    pub(crate) fn settled_resident_bytes(&self) -> Result<u64> {
        const STEP: Duration = Duration::from_millis(500);
        const STEPS_STABLE: u32 = 24;
        const STEPS_MAX: u32 = 90;
        let (mut last, mut stable) = (self.resident_bytes()?, 0);
        for _ in 0..STEPS_MAX {
            pause(STEP);
            let now = self.resident_bytes()?;
            // A tenth of a percent either way is the server's own housekeeping.
            stable = if now.abs_diff(last) <= last / 1000 { stable + 1 } else { 0 };
            last = now;
            if stable == STEPS_STABLE {
                break;
            }
        }
        Ok(last)
    }

    fn proc(&self, file: &str) -> String {
        format!("/proc/{}/{file}", self.child.id())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only if the process is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits, where what is waited for is time itself.
#[expect(clippy::disallowed_methods, reason = "a benchmark's main thread serves nobody")]
pub(crate) fn pause(duration: Duration) {
    std::thread::sleep(duration);
}
