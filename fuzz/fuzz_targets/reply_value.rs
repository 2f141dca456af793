//! Replies: any bytes are read, refused or incomplete, never a panic; a reply that is read is
//! complete at its last byte and not before; what the encoder writes of it reads back.
#![no_main]

use kvasir_proto::value::ValueLimits;
use kvasir_proto::{Encoder, Resp, Value};

/// Writes a value as a server would for a RESP3 client.
fn write(encoder: &mut Encoder<'_>, value: &Value) {
    match value {
        // A simple string is whatever was on the line; the encoder takes text without line ends.
        Value::Simple(text) => match core::str::from_utf8(text) {
            Ok(text) if !text.contains('\n') => encoder.simple(text),
            _ => encoder.bulk(text),
        },
        Value::Error(text) => encoder.error_bytes(text),
        Value::Integer(value) => encoder.integer(*value),
        Value::Bulk(bytes) => encoder.bulk(bytes),
        Value::Null => encoder.null(),
        Value::NullArray => encoder.null_array(),
        Value::Double(value) => encoder.double(*value),
        Value::Boolean(value) => encoder.boolean(*value),
        Value::BigNumber(digits) => encoder.big_number(digits),
        Value::Verbatim(format, text) => encoder.verbatim(*format, text),
        Value::Array(elements) => {
            encoder.array(elements.len());
            elements.iter().for_each(|element| write(encoder, element));
        }
        Value::Set(elements) => {
            let set = encoder.defer_set();
            elements.iter().for_each(|element| write(encoder, element));
            encoder.finish(set, elements.len());
        }
        Value::Push(elements) => {
            encoder.push(elements.len());
            elements.iter().for_each(|element| write(encoder, element));
        }
        Value::Map(pairs) => {
            let map = encoder.defer_map();
            write_pairs(encoder, pairs);
            encoder.finish(map, pairs.len());
        }
        Value::Attribute(pairs, value) => {
            encoder.attribute(pairs.len());
            write_pairs(encoder, pairs);
            write(encoder, value);
        }
    }
}

fn write_pairs(encoder: &mut Encoder<'_>, pairs: &[(Value, Value)]) {
    for (key, value) in pairs {
        write(encoder, key);
        write(encoder, value);
    }
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let limits = ValueLimits { depth: 32, string_length: 1 << 20, elements: 1 << 20 };
    let Ok(Some((value, consumed))) = limits.parse(data) else { return };
    assert!(limits.parse(&data[..consumed - 1]) == Ok(None), "complete at the last byte only");

    let mut written = Vec::new();
    write(&mut Encoder::new(&mut written, Resp::V3), &value);
    let (again, length) = limits
        .parse(&written)
        .expect("what the encoder writes is well-formed")
        .expect("what the encoder writes is complete");
    assert_eq!(length, written.len());
    // What is written from then on is stable: NaN and line ends in errors have one form.
    let mut stable = Vec::new();
    write(&mut Encoder::new(&mut stable, Resp::V3), &again);
    assert_eq!(written, stable);
});
