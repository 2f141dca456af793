//! `kvasir-check-rdb` beside `valkey-check-rdb`, on whole files and on damaged ones.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use kvasir_testing::{Program, Server, peers};

use super::fill;

/// The exit code, and what was printed without the offsets.
type Said = (Option<i32>, Vec<String>);

fn run(program: &Path, file: &Path) -> Said {
    let output = Command::new(program).arg(file).output().expect("the program runs");
    let text = String::from_utf8(output.stdout).expect("what is printed is text");
    let without_offset = |line: &str| match line.split_once("] ") {
        Some((head, rest)) if head.starts_with("[offset ") => rest.to_owned(),
        _ => line.to_owned(),
    };
    (output.status.code(), text.lines().map(without_offset).collect())
}

/// Our program under the name of the tool.
fn tool(dir: &Path) -> PathBuf {
    let link = dir.join("kvasir-check-rdb");
    if !link.exists() {
        symlink(Program::Kvasir.path(), &link).expect("a link to the program");
    }
    link
}

/// A server with data of every kind, which it has saved.
fn saved_by(program: Program) -> Server {
    let server = Server::builder(program).shards(2).start();
    let mut client = server.client();
    fill(&mut client);
    client.run("SET gone x PX 1");
    client.run("SAVE");
    server
}

#[test]
fn whole_files_are_told_as_valkey_tells_them() {
    for program in [Program::Kvasir, Program::Valkey] {
        let server = saved_by(program);
        let file = server.dir().join("dump.rdb");
        let (code, ours) = run(&tool(server.dir()), &file);
        let (_, mut theirs) = run(&peers::program("valkey-check-rdb"), &file);
        // Each piece of our files selects its database, which ours tells when it is another one.
        theirs.retain(|line| program == Program::Valkey || !line.starts_with("Selecting DB"));
        assert_eq!(code, Some(0), "{ours:#?}");
        let mut rest = ours.iter();
        for line in &theirs {
            assert!(rest.any(|own| own == line), "{line:?} is not in {ours:#?}");
        }
    }
}

#[test]
fn every_kind_of_damage_is_found() {
    let server = saved_by(Program::Kvasir);
    let tool = tool(server.dir());
    let whole = fs::read(server.dir().join("dump.rdb")).expect("a dump file");
    let file = server.dir().join("damaged.rdb");
    let check = |bytes: &[u8], why: &str| {
        fs::write(&file, bytes).expect("a file is written");
        let (code, said) = run(&tool, &file);
        assert_eq!(code, Some(1), "{said:#?}");
        assert!(said.iter().any(|line| line == "--- RDB ERROR DETECTED ---"), "{said:#?}");
        assert!(said.iter().any(|line| line.contains(why)), "{why:?} is not in {said:#?}");
    };
    check(b"", "the data ends too early");
    check(b"*1\r\n$4\r\nPING\r\n", "wrong signature");
    check(&whole[..whole.len() / 2], "the data ends too early");
    check(&whole[..whole.len() - 1], "the data ends too early");
    let mut flipped = whole.clone();
    let last = flipped.last_mut().expect("the file is not empty");
    *last ^= 1;
    check(&flipped, "RDB CRC error");
}

#[test]
fn a_file_that_cannot_be_read_is_an_error() {
    let server = Server::kvasir(1);
    let (code, said) = run(&tool(server.dir()), &server.dir().join("nothing.rdb"));
    assert_eq!(code, Some(1));
    assert!(said.iter().any(|line| line.contains("No such file")), "{said:#?}");
}
