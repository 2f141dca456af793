//! Append-only logs: any bytes are read or refused, never a panic, never more memory than the input
//! can hold; what is whole of a file reads back, and a manifest that is read can be written.
#![no_main]

use kvasir_server::persist::aof::manifest::{BaseFormat, Manifest};
use kvasir_server::persist::aof::reader::{CommandReader, Record, Strictness};

/// The text of the commands up to the first error, and how much of the input is whole.
fn read(text: &[u8], strictness: Strictness) -> (Vec<u8>, u64) {
    let mut reader = CommandReader::new(text, 0, text.len() as u64, strictness);
    let mut commands = Vec::new();
    while let Ok(Some(record)) = reader.read() {
        if record == Record::Command {
            commands.extend_from_slice(reader.text());
        }
    }
    (commands, reader.whole())
}

/// A manifest that was read is written in a form that reads the same, whatever is done with it.
fn rewrite(mut manifest: Manifest) {
    let prefix = std::ffi::OsStr::new("a b");
    for step in 0..2 {
        let text = manifest.to_bytes();
        // A name may be too long for a line once it is quoted.
        if text.split(|byte| *byte == b'\n').all(|line| line.len() < 1024) && !text.is_empty() {
            let again = Manifest::parse(&text).expect("what was written reads back");
            assert!(again.to_bytes() == text, "a second round changes nothing");
        }
        manifest.begin_incr(prefix);
        let keep_from = manifest.incr_sequence() - step;
        manifest.replace_base(prefix, BaseFormat::Rdb, keep_from);
    }
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Ok(manifest) = Manifest::parse(data) {
        rewrite(manifest);
    }
    let (commands, whole) = read(data, Strictness::Server);
    let (copied, _) = read(&commands, Strictness::Server);
    assert!(copied == commands, "commands are handed on as a client would send them");
    let (again, end) = read(&data[..whole as usize], Strictness::Server);
    assert_eq!(end, whole, "what is whole is whole by itself");
    assert!(commands.starts_with(&again), "and reads the same");
    let (_, strict) = read(data, Strictness::Tool);
    assert!(strict <= whole, "the tool forgives nothing that a server does not");
});
