//! Tests of the request parser: exact cases, and any split of a stream against a naive model.

use super::*;

fn parse_all(input: &[u8], limits: &Limits) -> (Vec<Vec<Vec<u8>>>, Result<usize, ProtocolError>) {
    let mut parser = RequestParser::new();
    let mut args = ArgRanges::default();
    let mut requests = Vec::new();
    let mut at = 0;
    loop {
        match parser.parse(&input[at..], limits, &mut args) {
            Ok(Parsed::Complete { consumed }) => {
                requests.push(args.view(&input[at..]).iter().map(<[u8]>::to_vec).collect());
                at += consumed;
            }
            Ok(Parsed::Empty { consumed }) => at += consumed,
            Ok(Parsed::Incomplete { needed }) => {
                assert!(needed > input.len() - at);
                return (requests, Ok(at));
            }
            Err(error) => return (requests, Err(error)),
        }
    }
}

fn check(input: &[u8], expected: &[&[&[u8]]]) {
    let (requests, end) = parse_all(input, &Limits::default());
    assert_eq!(requests, expected, "{}", input.escape_ascii());
    assert_eq!(end, Ok(input.len()), "{}", input.escape_ascii());
}

#[test]
fn whole_requests() {
    check(b"*1\r\n$4\r\nPING\r\n", &[&[b"PING"]]);
    check(b"*2\r\n$3\r\nGET\r\n$0\r\n\r\n", &[&[b"GET", b""]]);
    check(b"PING\r\n", &[&[b"PING"]]);
    // The bytes after a carriage return and after a bulk string are not looked at.
    check(b"*1\rX$4\rXPINGZZ", &[&[b"PING"]]);
    check(b"*-1\r\n*0\r\n\r\n\n \t\r\nPING\n", &[&[b"PING"]]);
    check(b"set \"a b\" c\r\n*1\r\n$1\r\nx\r\n", &[&[b"set", b"a b", b"c"], &[b"x"]]);
}
