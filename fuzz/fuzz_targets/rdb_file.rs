//! Dump files: any bytes are read or refused, never a panic, never more memory than the input can
//! hold; every key that is read can be written, and reads back.
//!
//! An input is a whole file, whose checksum does not matter.
#![no_main]

use kvasir_server::persist::owned;
use kvasir_server::persist::rdb::{RdbError, RdbErrorKind, WriteOptions};
use kvasir_server::persist::rdb::dump::{Checksum, VersionCheck};
use kvasir_server::persist::rdb::file::{FileEntry, FileReader, Item, Next, ReadOptions};
use kvasir_server::persist::rdb::frame::Framed;
use kvasir_server::persist::rdb::write::file::{
    Needs, write_attributes, write_end, write_key, write_select,
};
use kvasir_shard::EncodingLimits;

const OPTIONS: ReadOptions = ReadOptions {
    databases: 16,
    versions: VersionCheck::Relaxed,
    checksum: Checksum::Ignored,
};

/// The items of a file up to the first that cannot be read, and what is wrong with that.
fn items(file: &[u8]) -> (Vec<Item>, Option<RdbError>) {
    let mut items = Vec::new();
    let error = FileReader::open(file, Some(file.len() as u64), OPTIONS).and_then(|mut reader| {
        while let Some(item) = reader.next_item()? {
            items.push(item);
        }
        Ok(())
    });
    (items, error.err())
}

/// The same, by way of frames.
fn framed(file: &[u8]) -> (Vec<Item>, Option<RdbError>) {
    let mut items = Vec::new();
    let error = FileReader::open(file, Some(file.len() as u64), OPTIONS).and_then(|mut reader| {
        loop {
            match reader.next_framed()? {
                Next::Framed(framed) => items.push(read(framed)?),
                Next::Item(item) => items.push(item),
                Next::End => return Ok(()),
            }
        }
    });
    (items, error.err())
}

fn read(framed: Framed<'_>) -> Result<Item, RdbError> {
    let Framed { db, key, value, deadline_ms, idle_s, frequency } = framed;
    let key = key.to_vec();
    match value.read() {
        Ok(value) => {
            let entry = FileEntry { db, key, value, deadline_ms, idle_s, frequency };
            Ok(Item::Entry(Box::new(entry)))
        }
        Err(RdbError { kind: RdbErrorKind::EmptyCollection, .. }) => Ok(Item::EmptyKey(key)),
        Err(error) => Err(error),
    }
}

/// What tells errors apart.
fn told(error: Option<RdbError>) -> Option<String> {
    error.map(|error| error.to_string())
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
    let (first, error) = items(data);
    let (by_frames, frame_error) = framed(data);
    assert!(first == by_frames, "frames hold what items do");
    assert_eq!(told(error), told(frame_error), "and what is wrong is told in the same words");
    let keys = first.iter().filter(|item| matches!(item, Item::Entry(_))).count();
    let file = written(first);
    let (again, _) = items(&file);
    assert_eq!(again.len(), keys, "what was written reads back");
    assert!(written(again) == file, "a second round changes nothing");
});
