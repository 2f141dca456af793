//! Tests of reading replies: what is refused, and the limits.

use super::*;
use proptest::prelude::*;

fn check(input: &[u8], expected: Value) {
    let length = input.len();
    let mut longer = input.to_vec();
    longer.extend_from_slice(b"+next\r\n");
    assert_eq!(Value::parse(&longer), Ok(Some((expected, length))), "{}", input.escape_ascii());
}

fn check_error(input: &[u8], expected: ValueError) {
    assert_eq!(Value::parse(input), Err(expected), "{}", input.escape_ascii());
}

#[test]
fn what_the_encoder_does_not_write() {
    check(b"!21\r\nSYNTAX invalid syntax\r\n", Value::Error(b"SYNTAX invalid syntax".to_vec()));
    let Ok(Some((Value::Double(value), 6))) = Value::parse(b",nan\r\n") else {
        panic!("NaN is a double");
    };
    assert!(value.is_nan());
}

#[test]
fn malformed_replies() {
    check_error(b"x", ValueError::UnknownType(b'x'));
    check_error(b"*1\r\n\xff", ValueError::UnknownType(0xff));
    check_error(b":1x\r\n", ValueError::Malformed);
    check_error(b":+1\r\n", ValueError::Malformed);
    check_error(b"$-2\r\n", ValueError::Malformed);
    check_error(b"$01\r\nx\r\n", ValueError::Malformed);
    check_error(b"$1\r\nxyz", ValueError::Malformed);
    check_error(b"+OK\rx", ValueError::Malformed);
    check_error(b"_x\r\n", ValueError::Malformed);
    check_error(b"#x\r\n", ValueError::Malformed);
    check_error(b",1,5\r\n", ValueError::Malformed);
    check_error(b"(12a\r\n", ValueError::Malformed);
    check_error(b"(-\r\n", ValueError::Malformed);
    check_error(b"=3\r\ntxt\r\n", ValueError::Malformed);
    check_error(b"=5\r\ntxt-x\r\n", ValueError::Malformed);
    check_error(b"~-1\r\n", ValueError::Malformed);
}

#[test]
fn limits_hold_before_the_bytes_are_there() {
    let limits = ValueLimits { depth: 2, string_length: 5, elements: 4 };
    let check = |input: &[u8], expected| assert_eq!(limits.parse(input), expected);
    check(b"$6\r\n", Err(ValueError::TooLong));
    check(b"$99999999999999999999\r\n", Err(ValueError::Malformed));
    check(b"*5\r\n", Err(ValueError::TooLong));
    check(b"%3\r\n", Err(ValueError::TooLong));
    check(b"*4\r\n", Ok(None));
    check(b"*1\r\n*1\r\n", Ok(None));
    check(b"*1\r\n*1\r\n*1\r\n", Err(ValueError::TooDeep));
    check(b"|1\r\n+k\r\n+v\r\n|1\r\n+k\r\n+v\r\n|1\r\n+k\r\n+v\r\n", Err(ValueError::TooDeep));
    let endless = vec![b'+'; LINE_LENGTH_MAX + 1];
    assert_eq!(Value::parse(&endless), Err(ValueError::TooLong));
}

#[test]
fn the_errors_read_well() {
    assert_eq!(ValueError::UnknownType(0).to_string(), "unknown reply type '\\x00'");
    assert_eq!(ValueError::Malformed.to_string(), "malformed reply");
}

proptest! {
    #![proptest_config(crate::testing::config())]

    #[test]
    fn garbage_is_refused_or_incomplete(
        bytes in proptest::collection::vec(
            prop_oneof![
                Just(b'\r'), Just(b'\n'), Just(b'1'), Just(b'*'), Just(b'$'), Just(b'%'),
                Just(b'|'), Just(b'~'), Just(b'+'), Just(b','), Just(b'='), any::<u8>(),
            ],
            0..60,
        )
    ) {
        if let Ok(Some((_, consumed))) = Value::parse(&bytes) {
            prop_assert!(consumed <= bytes.len());
            // A reply is complete at its last byte and not before.
            prop_assert_eq!(Value::parse(&bytes[..consumed - 1]), Ok(None));
        }
    }
}
