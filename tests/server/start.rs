//! The start of the process, its end, and what keeps it from starting.

use std::fs;
use std::net::TcpListener;
use std::process::{Command, Output};
use std::time::Duration;

use kvasir_testing::{Client, Program, ReservedPort, Server, poll_every, show, wait_until};

/// Runs the server with arguments that it cannot start with.
fn fail(arguments: &[&str]) -> Output {
    let output = Command::new(Program::Kvasir.path()).args(arguments).output();
    let output = output.expect("run the server");
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {output:?}");
    output
}

fn complaint(arguments: &[&str]) -> String {
    String::from_utf8_lossy(&fail(arguments).stderr).into_owned()
}

#[test]
fn a_busy_port_ends_the_start() {
    let busy = TcpListener::bind("127.0.0.1:0").expect("bind a port");
    let port = busy.local_addr().expect("a listener has an address").port().to_string();
    let output = fail(&["--port", &port, "--bind", "127.0.0.1", "--shards", "1"]);
    let log = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(log.contains(&format!("Failed listening on port {port} (tcp)")), "{log}");
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(complaint.contains("Address already in use"), "{complaint}");
}

#[test]
fn wrong_configurations_end_the_start() {
    let check = |arguments: &[&str], expected: &str| {
        let complaint = complaint(arguments);
        assert!(complaint.contains(expected), "{arguments:?}: {complaint}");
    };
    check(&["/no/such/file.conf"], "can't open config file '/no/such/file.conf'");
    check(&["--maxmemroy", "1mb"], "FATAL CONFIG FILE ERROR");
    check(&["--loadmodule", "some.so"], "This server loads no modules");
    check(&["--dir", "/no/such/directory"], "No such file or directory");
}

#[test]
fn the_title_the_pid_file_and_the_socket_come_and_go() {
    let template = "T {title} {port} {unixsocket} {config-file} \
                    and more than the command line has room for, so that the environment goes";
    let arguments = ["--pidfile", "pid", "--proc-title-template", template];
    let server = Server::builder(Program::Kvasir).args(&arguments).start();
    let (pid, socket) = (server.dir().join("pid"), server.dir().join("socket"));
    let number = fs::read_to_string(&pid).expect("read the pid file");
    assert_eq!(number, format!("{}\n", server.pid()));

    let title = || {
        let title = fs::read(format!("/proc/{}/cmdline", server.pid())).expect("read the title");
        String::from_utf8_lossy(&title).trim_end_matches('\0').to_owned()
    };
    let program = Program::Kvasir.path();
    let expected = template
        .replace("{title}", &program.display().to_string())
        .replace("{port}", &server.port().to_string())
        .replace("{unixsocket}", &socket.display().to_string())
        .replace("{config-file}", "-");
    assert_eq!(title(), expected);
    let mut client = server.client();
    assert_eq!(show(&client.run("CONFIG SET proc-title-template short")), "OK");
    assert_eq!(title(), "short");

    let log = server.log();
    assert!(log.contains(&format!(" PID: {}", server.pid())), "{log}");
    assert!(log.contains("Ready to accept connections unix"), "{log}");
    server.signal("TERM");
    wait_until("both files are gone", || !pid.exists() && !socket.exists());
    assert!(server.stop().success());
}

#[test]
fn a_daemon_leaves_its_starter() {
    let directory = tempfile::tempdir().expect("create a temporary directory");
    let port = ReservedPort::reserve();
    let number = port.number().to_string();
    let status = Command::new(Program::Kvasir.path())
        .args(["--daemonize", "yes", "--logfile", "log", "--pidfile", "pid", "--shards", "1"])
        .args(["--port", &number, "--bind", "127.0.0.1", "--dir"])
        .arg(directory.path())
        .status();
    assert!(status.is_ok_and(|status| status.success()));
    let log = || fs::read_to_string(directory.path().join("log")).unwrap_or_default();
    wait_until("the daemon serves", || log().contains("Ready to accept connections tcp"));
    let pid = fs::read_to_string(directory.path().join("pid")).expect("read the pid file");
    assert!(log().contains(&format!(" PID: {}", pid.trim())), "{}", log());
    let mut client = Client::connect(([127, 0, 0, 1], port.number()).into());
    assert_eq!(show(&client.run("PING")), "PONG");
    client.send(&["SHUTDOWN", "NOSAVE"]);
    let gone = poll_every(Duration::from_millis(5), Duration::from_secs(30), || {
        (!directory.path().join("pid").exists()).then_some(())
    });
    assert!(gone.is_some(), "{}", log());
}
