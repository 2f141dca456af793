//! A server as a process of its own: started, awaited, logged, stopped.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use tempfile::TempDir;

use crate::{ReservedPort, peers, poll_every, profile_dir};

/// How long a server may take to answer its first PING, on a machine that does much else.
const START_PATIENCE: Duration = Duration::from_secs(60);
/// How long a server may take to exit once told to.
const STOP_PATIENCE: Duration = Duration::from_secs(30);
/// How much of a failed server's log is shown.
const LOG_TAIL_LINES: usize = 60;

/// Which program a [`Server`] runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// The server under test: ours, unless `KVASIR_SERVER` names another.
    Kvasir,
    /// The real Valkey 8.1.
    Valkey,
    /// The real Redis 8.0.
    Redis,
}

impl Program {
    /// The executable's path.
    pub fn path(self) -> PathBuf {
        match self {
            Self::Kvasir => match std::env::var_os("KVASIR_SERVER") {
                Some(given) => PathBuf::from(given),
                None => profile_dir().join("kvasir-server"),
            },
            Self::Valkey => peers::program("valkey-server"),
            Self::Redis => peers::program("redis-server"),
        }
    }

    /// Whether the program has shards: ours has, a peer standing in for it has not.
    pub fn has_shards(self) -> bool {
        static STAND_IN: OnceLock<bool> = OnceLock::new();
        self == Self::Kvasir && !*STAND_IN.get_or_init(|| is_peer(&self.path()))
    }
}

/// Whether an executable calls itself Valkey or Redis.
fn is_peer(path: &Path) -> bool {
    let output = Command::new(path).arg("--version").stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("run {}: {error}", path.display()));
    let words = String::from_utf8_lossy(&output.stdout).to_lowercase();
    words.starts_with("valkey server") || words.starts_with("redis server")
}

/// What a server is started with.
#[derive(Clone, Debug)]
pub struct ServerBuilder {
    program: Program,
    shards: usize,
    args: Vec<String>,
    config: Option<String>,
}

impl ServerBuilder {
    /// The number of shards; the peers, which have none, ignore it.
    #[must_use]
    pub fn shards(mut self, shards: usize) -> Self {
        self.shards = shards;
        self
    }

    /// Adds command line arguments, such as `["--maxclients", "10"]`.
    #[must_use]
    pub fn args(mut self, args: &[&str]) -> Self {
        self.args.extend(args.iter().map(ToString::to_string));
        self
    }

    /// Lines of a configuration file, which is passed as the first argument.
    #[must_use]
    pub fn config(mut self, lines: &str) -> Self {
        self.config = Some(lines.to_owned());
        self
    }

    /// Starts the server and waits until it answers PING.
    #[track_caller]
    pub fn start(self) -> Server {
        let mut server = self.launch();
        server.await_reply(b"+PONG\r\n");
        server
    }

    /// Starts the server and waits until it answers PING with the error that it is loading.
    #[track_caller]
    pub fn start_loading(self) -> Server {
        let mut server = self.launch();
        server.await_reply(b"-LOADING");
        server
    }

    fn launch(self) -> Server {
        let port = ReservedPort::reserve();
        let dir = TempDir::with_prefix("kvasir-").expect("create a temporary directory");
        let child = self.spawn(&port, dir.path(), &[]);
        Server { child, port, dir, builder: self, exit_expected: false }
    }

    fn spawn(&self, port: &ReservedPort, dir: &Path, more: &[&str]) -> Child {
        let path = self.program.path();
        let mut command = Command::new(&path);
        if let Some(lines) = &self.config {
            let file = dir.join("server.conf");
            std::fs::write(&file, lines).expect("write the configuration file");
            command.arg(file);
        }
        command.args(["--port", &port.number().to_string()]);
        command.args(["--bind", "127.0.0.1", "--dir"]).arg(dir);
        command.arg("--unixsocket").arg(dir.join("socket"));
        command.args(["--save", "", "--enable-debug-command", "yes"]);
        if self.program.has_shards() {
            command.args(["--shards", &self.shards.to_string()]);
        }
        let log = File::options().create(true).append(true).open(dir.join("log"));
        let log = log.expect("open the server's log");
        let copy = log.try_clone().expect("share the server's log");
        command.args(&self.args).args(more).stdin(Stdio::null()).stdout(log).stderr(copy);
        let child = command.spawn();
        child.unwrap_or_else(|error| panic!("start {}: {error}", path.display()))
    }
}

/// A running server. Dropping it kills it; a server that died unasked fails its test.
#[derive(Debug)]
pub struct Server {
    child: Child,
    port: ReservedPort,
    dir: TempDir,
    builder: ServerBuilder,
    exit_expected: bool,
}

impl Server {
    /// A builder for a server of one shard without further arguments.
    pub fn builder(program: Program) -> ServerBuilder {
        ServerBuilder { program, shards: 1, args: Vec::new(), config: None }
    }

    /// Our server with so many shards.
    #[track_caller]
    pub fn kvasir(shards: usize) -> Self {
        Self::builder(Program::Kvasir).shards(shards).start()
    }

    /// The real Valkey 8.1.
    #[track_caller]
    pub fn valkey() -> Self {
        Self::builder(Program::Valkey).start()
    }

    /// Where the server listens.
    pub fn addr(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port.number()))
    }

    /// The TCP port.
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// The server's working directory, with its unix socket `socket` and its `log`.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Everything the server has printed so far.
    pub fn log(&self) -> String {
        let bytes = std::fs::read(self.dir.path().join("log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Sends a signal, named as `kill` names it.
    pub fn signal(&self, name: &str) {
        let pid = self.pid().to_string();
        let status = Command::new("kill").args(["-s", name, &pid]).status();
        assert!(status.is_ok_and(|status| status.success()), "kill -s {name} {pid}");
    }

    /// Tells the server to stop (SIGTERM) and waits for it.
    #[track_caller]
    pub fn stop(mut self) -> ExitStatus {
        self.signal("TERM");
        self.wait_for_exit()
    }

    /// Waits for a server that was told to exit by other means, such as SHUTDOWN.
    #[track_caller]
    pub fn wait_for_exit(&mut self) -> ExitStatus {
        self.exit_expected = true;
        let exited = poll_every(Duration::from_millis(5), STOP_PATIENCE, || self.exit_status());
        exited.unwrap_or_else(|| panic!("the server does not exit\n{}", self.log_tail()))
    }

    /// Stops the server and starts it again on the same port and in the same directory.
    #[track_caller]
    pub fn restart(&mut self) {
        self.signal("TERM");
        self.wait_for_exit();
        self.start_again();
    }

    /// Starts a server that has exited again, on the same port and in the same directory.
    #[track_caller]
    pub fn start_again(&mut self) {
        self.start_again_with(&[]);
    }

    /// As [`start_again`](Self::start_again), with more arguments for this time.
    #[track_caller]
    pub fn start_again_with(&mut self, more: &[&str]) {
        self.launch_again(more);
        self.await_reply(b"+PONG\r\n");
    }

    /// Starts a server that has exited again, and waits for nothing.
    #[track_caller]
    pub fn launch_again(&mut self, more: &[&str]) {
        self.child = self.builder.spawn(&self.port, self.dir.path(), more);
        self.exit_expected = false;
    }

    /// Kills the server (SIGKILL): it has no time to do anything.
    #[track_caller]
    pub fn kill(&mut self) {
        self.exit_expected = true;
        self.child.kill().expect("kill the server");
        let status = self.child.wait().expect("wait for the server's end");
        assert_eq!(status.code(), None, "the server had ended by itself\n{}", self.log_tail());
    }

    /// How the process ended, if it has.
    fn exit_status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("ask for the server's exit status")
    }

    #[track_caller]
    fn await_reply(&mut self, expected: &[u8]) {
        let addr = self.addr();
        let ready = poll_every(Duration::from_millis(5), START_PATIENCE, || {
            if let Some(status) = self.exit_status() {
                self.exit_expected = true;
                panic!("the server exited at start ({status})\n{}", self.log_tail());
            }
            answers_ping(addr, expected).then_some(())
        });
        assert!(ready.is_some(), "no answer to PING\n{}", self.log_tail());
    }

    fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        let shown = lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n");
        format!("--- log of {:?} on {} ---\n{shown}\n---", self.builder.program, self.addr())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let died = self.child.try_wait().ok().flatten();
        // Both fail only when the process is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("{}", self.log_tail());
        } else if let Some(status) = died.filter(|_| !self.exit_expected) {
            panic!("the server died during the test ({status})\n{}", self.log_tail());
        }
    }
}

fn answers_ping(addr: SocketAddr, expected: &[u8]) -> bool {
    let Ok(mut stream) = TcpStream::connect_timeout(&addr, Duration::from_secs(1)) else {
        return false;
    };
    let mut reply = vec![0; expected.len()];
    stream.set_read_timeout(Some(Duration::from_secs(1))).is_ok()
        && stream.write_all(b"PING\r\n").is_ok()
        && stream.read_exact(&mut reply).is_ok()
        && reply == expected
}
