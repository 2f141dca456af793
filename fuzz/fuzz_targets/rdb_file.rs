//! Dump files: any bytes are read or refused, never a panic, never more memory than the input can
//! hold; every key that is read can be written, and reads back.
//!
//! An input is a whole file, whose checksum does not matter.
#![no_main]

use kvasir_server::persist::owned;
use kvasir_server::persist::rdb::WriteOptions;
use kvasir_server::persist::rdb::dump::{Checksum, VersionCheck};
use kvasir_server::persist::rdb::file::{FileReader, Item, ReadOptions};
use kvasir_server::persist::rdb::write::file::{
    Needs, write_attributes, write_end, write_key, write_select,
};
use kvasir_shard::EncodingLimits;

const OPTIONS: ReadOptions = ReadOptions {
    databases: 16,
    versions: VersionCheck::Relaxed,
    checksum: Checksum::Ignored,
};

/// The items of a file up to the first that cannot be read.
fn items(file: &[u8]) -> Vec<Item> {
    let Ok(mut reader) = FileReader::open(file, Some(file.len() as u64), OPTIONS) else {
        return Vec::new();
    };
    std::iter::from_fn(|| reader.next_item().ok().flatten()).collect()
}

/// A file of the keys among the items.
fn written(items: Vec<Item>) -> Vec<u8> {
    let mut file = Needs::Valkey.header().to_vec();
    for item in items {
        let Item::Entry(entry) = item else { continue };
        let limits = EncodingLimits::default();
        let value = owned::from_dump(entry.value, entry.deadline_ms, limits);
        let Some(value) = value.map(|value| owned::to_dump(value.data)) else { continue };
        write_select(&mut file, entry.db);
        write_attributes(&mut file, entry.deadline_ms, None);
        write_key(&mut file, &entry.key, &value, WriteOptions { compress: true });
    }
    write_end(&mut file);
    file.extend_from_slice(&[0; 8]);
    file
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let first = items(data);
    let keys = first.iter().filter(|item| matches!(item, Item::Entry(_))).count();
    let file = written(first);
    let again = items(&file);
    assert_eq!(again.len(), keys, "what was written reads back");
    assert!(written(again) == file, "a second round changes nothing");
});
