//! RDB values: any bytes are read or refused, never a panic, never more memory than the input can
//! hold; what is read can be written, and reads back.
//!
//! An input is the value type, a byte that chooses the version, and the value.
#![no_main]

use kvasir_server::persist::rdb::{Input, WriteOptions, read_value, write_type, write_value};

const VERSIONS: [u16; 4] = [1, 11, 12, 80];

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let [value_type, version, body @ ..] = data else { return };
    let version = VERSIONS[usize::from(*version) % VERSIONS.len()];
    let Ok(value) = read_value(&mut Input::new(body), *value_type, version) else { return };
    let mut written = Vec::new();
    write_value(&mut written, &value, WriteOptions { compress: version > 11 });
    // The highest version has every type that is written.
    let again = read_value(&mut Input::new(&written), write_type(&value), 80);
    let again = again.expect("what was written reads back");
    let mut rewritten = Vec::new();
    write_value(&mut rewritten, &again, WriteOptions { compress: version > 11 });
    assert!(written == rewritten, "a second round changes nothing");
});
