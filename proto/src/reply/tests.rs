//! Tests of the encoder: what Valkey sends for `DEBUG PROTOCOL` after `HELLO 2` and `HELLO 3`, and
//! round trips through [`Value`].

use super::*;
use crate::Value;
use proptest::prelude::*;

fn check(write: impl Fn(&mut Encoder<'_>), resp2: &[u8], resp3: &[u8]) {
    for (resp, expected) in [(Resp::V2, resp2), (Resp::V3, resp3)] {
        let mut out = b"before".to_vec();
        write(&mut Encoder::new(&mut out, resp));
        assert_eq!(out[6..].escape_ascii().to_string(), expected.escape_ascii().to_string());
    }
}

fn check_both(write: impl Fn(&mut Encoder<'_>), expected: &[u8]) {
    check(write, expected, expected);
}

#[test]
#[expect(clippy::redundant_closure_for_method_calls, reason = "the method is less general")]
fn what_both_versions_share() {
    check_both(|e| e.ok(), b"+OK\r\n");
    check_both(|e| e.simple("PONG"), b"+PONG\r\n");
    check_both(|e| e.integer(0), b":0\r\n");
    check_both(|e| e.integer(9), b":9\r\n");
    check_both(|e| e.integer(10), b":10\r\n");
    check_both(|e| e.integer(-1), b":-1\r\n");
    check_both(|e| e.integer(i64::MIN), b":-9223372036854775808\r\n");
    check_both(|e| e.bulk(b""), b"$0\r\n\r\n");
    check_both(|e| e.bulk(b"a\r\nb"), b"$4\r\na\r\nb\r\n");
    check_both(|e| e.bulk(&[b'x'; 10]), b"$10\r\nxxxxxxxxxx\r\n");
    check_both(|e| e.bulk_integer(-42), b"$3\r\n-42\r\n");
    check_both(|e| e.bulk_parts(&[b"ab", b"", b"c"]), b"$3\r\nabc\r\n");
    check_both(|e| e.bulk_or_null(Some(b"x")), b"$1\r\nx\r\n");
    check_both(|e| e.array(0), b"*0\r\n");
    check_both(|e| e.array(99), b"*99\r\n");
    check_both(|e| e.array(100), b"*100\r\n");
    check_both(|e| e.array(1_000_000), b"*1000000\r\n");
}

#[test]
fn errors_are_one_line() {
    check_both(|e| e.error("ERR syntax error"), b"-ERR syntax error\r\n");
    check_both(|e| e.error("\r\nERR a\r\nb\n\r"), b"-ERR a  b\r\n");
    check_both(|e| e.error("\r\n"), b"-\r\n");
    check_both(|e| e.error_bytes(b"ERR '\xff\0'"), b"-ERR '\xff\0'\r\n");
}

#[test]
#[expect(clippy::redundant_closure_for_method_calls, reason = "the method is less general")]
fn what_resp2_lacks() {
    check(|e| e.null(), b"$-1\r\n", b"_\r\n");
    check(|e| e.null_array(), b"*-1\r\n", b"_\r\n");
    check(|e| e.bulk_or_null(None), b"$-1\r\n", b"_\r\n");
    check(|e| e.map(3), b"*6\r\n", b"%3\r\n");
    check(|e| e.set(3), b"*3\r\n", b"~3\r\n");
    check(|e| e.push(2), b"*2\r\n", b">2\r\n");
    check(|e| e.double(-1.25), b"$5\r\n-1.25\r\n", b",-1.25\r\n");
    check(|e| e.double(f64::INFINITY), b"$3\r\ninf\r\n", b",inf\r\n");
    check(|e| e.double(f64::NEG_INFINITY), b"$4\r\n-inf\r\n", b",-inf\r\n");
    check(|e| e.double(17.0), b"$2\r\n17\r\n", b",17\r\n");
    check(|e| e.double_text(b"0.5000"), b"$6\r\n0.5000\r\n", b",0.5000\r\n");
    check(|e| e.boolean(true), b":1\r\n", b"#t\r\n");
    check(|e| e.boolean(false), b":0\r\n", b"#f\r\n");
    let digits = b"1234567999999999999999999999999999999";
    check(
        |e| e.big_number(digits),
        b"$37\r\n1234567999999999999999999999999999999\r\n",
        b"(1234567999999999999999999999999999999\r\n",
    );
    check(
        |e| e.verbatim(*b"txt", b"This is a verbatim\nstring"),
        b"$25\r\nThis is a verbatim\nstring\r\n",
        b"=29\r\ntxt:This is a verbatim\nstring\r\n",
    );
}

#[test]
fn attributes_are_for_resp3() {
    let mut out = Vec::new();
    let mut encoder = Encoder::new(&mut out, Resp::V3);
    encoder.attribute(1);
    encoder.bulk(b"ttl");
    encoder.integer(3600);
    encoder.ok();
    assert_eq!(out, b"|1\r\n$3\r\nttl\r\n:3600\r\n+OK\r\n");
}

#[test]
fn deferred_lengths_of_any_size() {
    for length in [0, 1, 9, 10, 99, 100, 12_345] {
        let mut deferred = b"+before\r\n".to_vec();
        let mut known = deferred.clone();
        let mut encoder = Encoder::new(&mut deferred, Resp::V3);
        let outer = encoder.defer_array();
        let inner = encoder.defer_set();
        for element in 0..length {
            encoder.integer(element);
        }
        encoder.finish(inner, length as usize);
        let map = encoder.defer_map();
        encoder.ok();
        encoder.ok();
        encoder.finish(map, 1);
        encoder.finish(outer, 2);
        let mut encoder = Encoder::new(&mut known, Resp::V3);
        encoder.array(2);
        encoder.set(length as usize);
        for element in 0..length {
            encoder.integer(element);
        }
        encoder.map(1);
        encoder.ok();
        encoder.ok();
        assert_eq!(deferred, known);
    }
}

#[test]
fn a_deferred_map_counts_pairs() {
    let write = |e: &mut Encoder<'_>| {
        let map = e.defer_map();
        for number in 0..10 {
            e.integer(number % 10);
        }
        e.finish(map, 5);
    };
    let elements: Vec<u8> = (0..10).flat_map(|n| [b':', b'0' + n, b'\r', b'\n']).collect();
    let resp2 = [&b"*10\r\n"[..], &elements].concat();
    let resp3 = [&b"%5\r\n"[..], &elements].concat();
    check(write, &resp2, &resp3);
}

#[test]
fn rolling_back() {
    let mut out = b"+first\r\n".to_vec();
    let mut encoder = Encoder::new(&mut out, Resp::V2);
    assert_eq!(encoder.len(), 8);
    let mark = encoder.mark();
    encoder.array(2);
    encoder.bulk(b"half of it");
    assert_eq!(encoder.since(mark), b"*2\r\n$10\r\nhalf of it\r\n");
    encoder.rollback(mark);
    encoder.error("ERR no");
    assert_eq!(out, b"+first\r\n-ERR no\r\n");
}

#[test]
fn requests_as_clients_send_them() {
    let mut out = Vec::new();
    crate::append_request(&mut out, [&b"SET"[..], b"k", b""]);
    assert_eq!(out, b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$0\r\n\r\n");
}

/// Replies of every kind, nested.
fn values() -> impl Strategy<Value = Value> {
    let bytes = || proptest::collection::vec(any::<u8>(), 0..20);
    let line = || "[ -~]{0,20}".prop_map(String::into_bytes);
    let leaf = prop_oneof![
        line().prop_map(Value::Simple),
        "[A-Z]{1,9} [ -~]{0,20}".prop_map(|text| Value::Error(text.into_bytes())),
        any::<i64>().prop_map(Value::Integer),
        bytes().prop_map(Value::Bulk),
        proptest::collection::vec(any::<u8>(), 95..120).prop_map(Value::Bulk),
        Just(Value::Null),
        Just(Value::NullArray),
        any::<f64>().prop_map(Value::Double),
        any::<bool>().prop_map(Value::Boolean),
        "-?[1-9][0-9]{0,30}".prop_map(|digits| Value::BigNumber(digits.into_bytes())),
        bytes().prop_map(|text| Value::Verbatim(*b"txt", text)),
    ];
    leaf.prop_recursive(4, 60, 12, |inner| {
        let pairs = || proptest::collection::vec((inner.clone(), inner.clone()), 0..6);
        let elements = || proptest::collection::vec(inner.clone(), 0..12);
        prop_oneof![
            elements().prop_map(Value::Array),
            elements().prop_map(Value::Set),
            elements().prop_map(Value::Push),
            pairs().prop_map(Value::Map),
            (pairs(), inner.clone())
                .prop_map(|(pairs, value)| Value::Attribute(pairs, Box::new(value))),
        ]
    })
}

/// Writes `value`, with lengths known ahead or deferred.
fn write(encoder: &mut Encoder<'_>, value: &Value, defer: bool) {
    let all = |encoder: &mut Encoder<'_>, elements: &[Value]| {
        for element in elements {
            write(encoder, element, defer);
        }
    };
    let deferred = match value {
        Value::Array(_) if defer => Some(encoder.defer_array()),
        Value::Set(_) if defer => Some(encoder.defer_set()),
        Value::Push(_) if defer => Some(encoder.defer_push()),
        Value::Map(_) if defer => Some(encoder.defer_map()),
        _ => None,
    };
    let known = deferred.is_none();
    match value {
        Value::Simple(text) => encoder.simple(core::str::from_utf8(text).unwrap()),
        Value::Error(text) => encoder.error_bytes(text),
        Value::Integer(value) => encoder.integer(*value),
        Value::Bulk(bytes) => encoder.bulk(bytes),
        Value::Null => encoder.null(),
        Value::NullArray => encoder.null_array(),
        Value::Double(value) => encoder.double(*value),
        Value::Boolean(value) => encoder.boolean(*value),
        Value::BigNumber(digits) => encoder.big_number(digits),
        Value::Verbatim(format, text) => encoder.verbatim(*format, text),
        Value::Array(elements) | Value::Set(elements) | Value::Push(elements) => {
            match value {
                Value::Array(_) if known => encoder.array(elements.len()),
                Value::Set(_) if known => encoder.set(elements.len()),
                Value::Push(_) if known => encoder.push(elements.len()),
                _ => {}
            }
            all(encoder, elements);
            if let Some(deferred) = deferred {
                encoder.finish(deferred, elements.len());
            }
        }
        Value::Map(pairs) => {
            if known {
                encoder.map(pairs.len());
            }
            for (key, value) in pairs {
                write(encoder, key, defer);
                write(encoder, value, defer);
            }
            if let Some(deferred) = deferred {
                encoder.finish(deferred, pairs.len());
            }
        }
        Value::Attribute(pairs, value) => {
            if encoder.resp() == Resp::V3 {
                encoder.attribute(pairs.len());
                for (key, value) in pairs {
                    write(encoder, key, defer);
                    write(encoder, value, defer);
                }
            }
            write(encoder, value, defer);
        }
    }
}

/// What a client reads of a value that was written for it.
fn as_read(value: &Value, resp: Resp) -> Value {
    let all = |elements: &[Value]| elements.iter().map(|value| as_read(value, resp)).collect();
    let flat = |pairs: &[(Value, Value)]| {
        let elements = pairs.iter().flat_map(|(key, value)| [key, value]);
        elements.map(|value| as_read(value, resp)).collect()
    };
    let both = |pairs: &[(Value, Value)]| {
        let read = |pair: &(Value, Value)| (as_read(&pair.0, resp), as_read(&pair.1, resp));
        pairs.iter().map(read).collect()
    };
    match (resp, value) {
        (Resp::V2, Value::Double(value)) => {
            Value::Bulk(DoubleText::new(*value).as_bytes().to_vec())
        }
        (Resp::V2, Value::Boolean(value)) => Value::Integer(i64::from(*value)),
        (Resp::V2, Value::BigNumber(bytes) | Value::Verbatim(_, bytes)) => {
            Value::Bulk(bytes.clone())
        }
        (Resp::V2, Value::Set(elements) | Value::Push(elements)) | (_, Value::Array(elements)) => {
            Value::Array(all(elements))
        }
        (Resp::V2, Value::Map(pairs)) => Value::Array(flat(pairs)),
        (Resp::V2, Value::Attribute(_, value)) => as_read(value, resp),
        (Resp::V3, Value::NullArray) => Value::Null,
        (Resp::V3, Value::Set(elements)) => Value::Set(all(elements)),
        (Resp::V3, Value::Push(elements)) => Value::Push(all(elements)),
        (Resp::V3, Value::Map(pairs)) => Value::Map(both(pairs)),
        (Resp::V3, Value::Attribute(pairs, value)) => {
            Value::Attribute(both(pairs), Box::new(as_read(value, resp)))
        }
        (_, value) => value.clone(),
    }
}

proptest! {
    #![proptest_config(crate::testing::config())]

    #[test]
    fn replies_read_back(value in values(), three in any::<bool>(), defer in any::<bool>()) {
        let resp = if three { Resp::V3 } else { Resp::V2 };
        let mut out = Vec::new();
        write(&mut Encoder::new(&mut out, resp), &value, defer);
        prop_assert_eq!(Value::parse(&out), Ok(Some((as_read(&value, resp), out.len()))));
        for end in 0..out.len() {
            prop_assert_eq!(Value::parse(&out[..end]), Ok(None));
        }
    }
}
