//! Tests of the request parser: exact cases, limits, and any split of a stream against a naive
//! model that parses every request again from its start.

use super::*;
use crate::args::Args;
use proptest::prelude::*;

type Request = Vec<Vec<u8>>;

/// What a connection saw: its requests, and where and how it ended.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    requests: Vec<Request>,
    /// Bytes of the requests and of what asked for nothing.
    consumed: usize,
    error: Option<ProtocolError>,
}

/// A connection that gets its bytes in pieces.
#[derive(Default)]
struct Connection {
    parser: RequestParser,
    buffer: Vec<u8>,
    /// The most that was asked for within the current request.
    needed: usize,
    seen: Seen,
}

impl Connection {
    fn receive(&mut self, bytes: &[u8], limits: &Limits, args: &mut ArgRanges) {
        if self.seen.error.is_some() {
            return;
        }
        self.buffer.extend_from_slice(bytes);
        loop {
            let result = self.parser.parse(&self.buffer, limits, args);
            assert!(self.parser.allocated_bytes() <= 512 + 32 * self.buffer.len());
            let consumed = match result {
                Ok(Parsed::Complete { consumed }) => {
                    assert!(!args.is_empty());
                    let request = args.view(&self.buffer[..consumed]);
                    self.seen.requests.push(request.iter().map(<[u8]>::to_vec).collect());
                    consumed
                }
                Ok(Parsed::Empty { consumed }) => consumed,
                Ok(Parsed::Incomplete { needed }) => {
                    assert!(needed > self.buffer.len(), "more is needed than there is");
                    assert!(needed <= 2 * self.buffer.len() + NEEDED_STEP);
                    self.needed = self.needed.max(needed);
                    return;
                }
                Err(error) => {
                    assert_eq!(self.parser.parse(&self.buffer, limits, args), Err(error));
                    self.seen.error = Some(error);
                    return;
                }
            };
            assert_eq!(self.parser.allocated_bytes(), 0, "nothing is kept between requests");
            assert!(self.needed <= consumed, "a request asks for no more than its own bytes");
            self.needed = 0;
            self.seen.consumed += consumed;
            self.buffer.drain(..consumed);
        }
    }
}

fn in_one_piece(stream: &[u8], limits: &Limits) -> Seen {
    let mut connection = Connection::default();
    connection.receive(stream, limits, &mut ArgRanges::default());
    connection.seen
}

/// The same by the definition of the protocol, from the start of each request, nothing remembered.
mod model {
    use super::*;

    pub(super) fn run(stream: &[u8], limits: &Limits) -> Seen {
        let mut seen = Seen::default();
        let mut after_blanks = false;
        loop {
            let input = &stream[seen.consumed..];
            match request(input, limits, after_blanks) {
                Ok(None) => return seen,
                Ok(Some((request, consumed))) => {
                    let line = &input[..consumed];
                    after_blanks =
                        request.is_empty() && !matches!(line, b"\n" | b"\r\n" | [b'*', ..]);
                    if !request.is_empty() {
                        seen.requests.push(request);
                    }
                    seen.consumed += consumed;
                }
                Err(error) => {
                    seen.error = Some(error);
                    return seen;
                }
            }
        }
    }

    type Outcome<T> = Result<Option<(T, usize)>, ProtocolError>;

    fn request(input: &[u8], limits: &Limits, after_blanks: bool) -> Outcome<Request> {
        match input.first() {
            None => Ok(None),
            Some(b'*') if !after_blanks => multibulk(input, limits),
            Some(_) => inline_request(input),
        }
    }

    fn inline_request(input: &[u8]) -> Outcome<Request> {
        let end = input.iter().position(|&byte| byte == b'\n' || byte == 0);
        match end {
            Some(end) if input[end] == b'\n' && end <= 65_536 => {
                let mut line = &input[..end];
                if line.last() == Some(&b'\r') {
                    line = &line[..end - 1];
                }
                let mut args = ArgRanges::default();
                inline::split_line(line, &mut args).map_err(|_| ProtocolError::UnbalancedQuotes)?;
                Ok(Some((args.view(line).iter().map(<[u8]>::to_vec).collect(), end + 1)))
            }
            _ if input.len() > 65_536 => Err(ProtocolError::BigInline),
            _ => Ok(None),
        }
    }

    fn multibulk(input: &[u8], limits: &Limits) -> Outcome<Request> {
        let Some((line, mut at)) = line(input, ProtocolError::BigMultibulkCount)? else {
            return Ok(None);
        };
        let count = integer(&line[1..]).ok_or(ProtocolError::InvalidMultibulkLength)?;
        if count > i64::from(limits.max_multibulk) {
            return Err(ProtocolError::InvalidMultibulkLength);
        }
        if count > 10 && !limits.authenticated {
            return Err(ProtocolError::UnauthenticatedMultibulkLength);
        }
        let mut request = Vec::new();
        for _ in 0..count {
            let Some((argument, length)) = bulk(&input[at..], limits)? else {
                return Ok(None);
            };
            request.push(argument);
            at += length;
        }
        Ok(Some((request, at)))
    }

    fn bulk(input: &[u8], limits: &Limits) -> Outcome<Vec<u8>> {
        let Some((line, start)) = line(input, ProtocolError::BigBulkCount)? else {
            return Ok(None);
        };
        if input[0] != b'$' {
            return Err(ProtocolError::ExpectedDollar(input[0]));
        }
        let length = integer(&line[1..]).ok_or(ProtocolError::InvalidBulkLength)?;
        if length < 0 || length as u64 > limits.max_bulk_len {
            return Err(ProtocolError::InvalidBulkLength);
        }
        if length > 16_384 && !limits.authenticated {
            return Err(ProtocolError::UnauthenticatedBulkLength);
        }
        let end = start + length as usize;
        if input.len() < end + 2 {
            Ok(None)
        } else {
            Ok(Some((input[start..end].to_vec(), end + 2)))
        }
    }

    fn line(input: &[u8], overlong: ProtocolError) -> Outcome<&[u8]> {
        match input.iter().position(|&byte| byte == b'\r') {
            Some(end) if end <= 65_536 => {
                Ok((input.len() > end + 1).then(|| (&input[..end], end + 2)))
            }
            _ if input.len() > 65_536 => Err(overlong),
            _ => Ok(None),
        }
    }

    fn integer(text: &[u8]) -> Option<i64> {
        let value: i64 = core::str::from_utf8(text).ok()?.parse().ok()?;
        (value.to_string().as_bytes() == text).then_some(value)
    }
}

fn check(input: &[u8], expected: &[&[&[u8]]]) {
    let seen = in_one_piece(input, &Limits::default());
    let requests = expected.iter().map(|args| args.iter().map(|arg| arg.to_vec()).collect());
    let expected = Seen { requests: requests.collect(), consumed: input.len(), error: None };
    assert_eq!(seen, expected, "{}", input.escape_ascii());
}

fn check_error(input: &[u8], limits: &Limits, expected: &str) {
    let seen = in_one_piece(input, limits);
    let mut text = Vec::new();
    seen.error.unwrap_or_else(|| panic!("an error: {}", input.escape_ascii())).append_to(&mut text);
    let expected = format!("Protocol error: {expected}");
    assert_eq!(text.escape_ascii().to_string(), expected.as_bytes().escape_ascii().to_string());
    assert_eq!(seen.requests.len(), 0);
}

#[test]
fn whole_requests() {
    check(b"*1\r\n$4\r\nPING\r\n", &[&[b"PING"]]);
    check(b"*2\r\n$3\r\nGET\r\n$0\r\n\r\n", &[&[b"GET", b""]]);
    check(b"PING\r\n", &[&[b"PING"]]);
    check(b"*1\r\n$4\r\n\r\n\r\n\r\n", &[&[b"\r\n\r\n"]]);
    // The bytes after a carriage return and after a bulk string are not looked at.
    check(b"*1\rX$4\rXPINGZZ", &[&[b"PING"]]);
    check(b"*-1\r\n*0\r\n\r\n\n \t\r\nPING\n*-9223372036854775808\r\n", &[&[b"PING"]]);
    // After a line of blanks, the next line is an inline request, whatever it begins with.
    check(b"\r\n*1\r\n$1\r\nx\r\n", &[&[b"x"]]);
    check(b" \r\n*1\r\n$1\r\nx\r\n", &[&[b"*1"], &[b"$1"], &[b"x"]]);
    check(b"set \"a b\" c\r\n*1\r\n$1\r\nx\r\n", &[&[b"set", b"a b", b"c"], &[b"x"]]);
}

#[test]
fn lengths_of_one_to_many_digits() {
    for length in [0, 1, 9, 10, 99, 100, 999, 1000, 9999, 16_385, 70_000] {
        let argument = vec![b'\r'; length];
        let mut stream = Vec::new();
        append_request(&mut stream, [&b"SET"[..], b"k", &argument]);
        check(&stream, &[&[b"SET", b"k", &argument]]);
        let arguments = vec![&b"x"[..]; length.max(1)];
        let mut stream = Vec::new();
        append_request(&mut stream, arguments.iter().copied());
        check(&stream, &[&arguments]);
    }
}

#[test]
fn malformed_requests() {
    let check = |input: &[u8], expected: &str| check_error(input, &Limits::default(), expected);
    for count in ["", "+1", "01", "-0", "1 ", "x", "2147483648", "9999999999999999999999"] {
        check(format!("*{count}\r\n").as_bytes(), "invalid multibulk length");
    }
    for length in ["", "-1", "04", "+4", "x", "536870913", "9999999999999999999999"] {
        check(format!("*1\r\n${length}\r\nPING\r\n").as_bytes(), "invalid bulk length");
    }
    check(b"*1\r\nPING\r\n", "expected '$', got 'P'");
    check(b"*1\r\n:1\r\n", "expected '$', got ':'");
    check(b"*1\r\n\r\n", "expected '$', got ' '");
    check(b"*1\r\n\n\r\n", "expected '$', got ' '");
    check(b"*1\r\n\0\r\n", "expected '$', got '\0'");
    check(b"\"PING\r\n", "unbalanced quotes in request");
    check(b"'PI'NG\r\n", "unbalanced quotes in request");
}

#[test]
fn a_byte_that_is_no_text_goes_out_as_it_came() {
    let error = ProtocolError::ExpectedDollar(0xff);
    let mut text = Vec::new();
    error.append_to(&mut text);
    assert_eq!(text, b"Protocol error: expected '$', got '\xff'");
    assert_eq!(error.to_string(), "Protocol error: expected '$', got '\\xff'");
}

#[test]
fn lines_have_a_longest_length() {
    let check = |input: &[u8], expected: &str| check_error(input, &Limits::default(), expected);
    let none = |input: &[u8]| assert_eq!(in_one_piece(input, &Limits::default()), Seen::default());
    let long = vec![b'1'; LINE_LENGTH_MAX];
    none(&long);
    none(&[&b"*"[..], &long[1..]].concat());
    check(&[&long[..], b"1"].concat(), "too big inline request");
    check(&[&long[..], b"1\n"].concat(), "too big inline request");
    check(&[&b"*"[..], &long].concat(), "too big mbulk count string");
    check(&[&b"*1\r\n$"[..], &long].concat(), "too big bulk count string");
    check(&[&b"*1\r\nx"[..], &long].concat(), "too big bulk count string");
    check(&[&b"*"[..], &long[1..], b"\r\n"].concat(), "invalid multibulk length");
    let longest = [&long[..], b"\n"].concat();
    assert_eq!(in_one_piece(&longest, &Limits::default()).requests, [[long.clone()]]);
    // A NUL hides the end of an inline request.
    none(b"PI\0NG\r\n");
    check(&[&b"PI\0NG\r\n"[..], &long].concat(), "too big inline request");
}

#[test]
fn limits_before_authentication() {
    let strict = Limits { authenticated: false, ..Limits::default() };
    let check = |input: &[u8], expected: &str| check_error(input, &strict, expected);
    check(b"*11\r\n", "unauthenticated multibulk length");
    check(b"*1\r\n$16385\r\n", "unauthenticated bulk length");
    check(b"*2147483648\r\n", "invalid multibulk length");
    check(b"*1\r\n$536870913\r\n", "invalid bulk length");
    assert_eq!(in_one_piece(b"*10\r\n$16384\r\n", &strict), Seen::default());
}

#[test]
fn limits_of_the_configuration() {
    let small = Limits { max_bulk_len: 5, max_multibulk: 2, authenticated: true };
    check_error(b"*3\r\n", &small, "invalid multibulk length");
    check_error(b"*1\r\n$6\r\n", &small, "invalid bulk length");
    assert_eq!(in_one_piece(b"*2\r\n$5\r\nabcde\r\n", &small), Seen::default());
    let endless = Limits { max_bulk_len: u64::MAX, ..Limits::default() };
    check_error(b"*1\r\n$4294967296\r\n", &endless, "too big request");
    check_error(b"*1\r\n$4294967290\r\n", &endless, "too big request");
    check_error(b"*1\r\n$9223372036854775807\r\n", &endless, "too big request");
}

#[test]
fn announced_lengths_reserve_nothing() {
    let mut parser = RequestParser::new();
    let mut args = ArgRanges::default();
    let limits = Limits::default();
    let input = b"*2147483647\r\n$3\r\nSET\r\n$536870912\r\n";
    let needed = 2 * input.len() + NEEDED_STEP;
    assert_eq!(parser.parse(input, &limits, &mut args), Ok(Parsed::Incomplete { needed }));
    assert!(parser.allocated_bytes() <= 8 * KEPT_CAPACITY);
}

#[test]
fn a_hundred_thousand_arguments_byte_by_byte() {
    let mut stream = Vec::new();
    append_request(&mut stream, vec![&b"x"[..]; 100_000]);
    let mut parser = RequestParser::new();
    let mut args = ArgRanges::default();
    for end in 0..stream.len() {
        let result = parser.parse(&stream[..end], &Limits::default(), &mut args);
        assert!(matches!(result, Ok(Parsed::Incomplete { .. })));
    }
    let consumed = stream.len();
    let result = parser.parse(&stream, &Limits::default(), &mut args);
    assert_eq!(result, Ok(Parsed::Complete { consumed }));
    let view = args.view(&stream);
    assert_eq!(view.len(), 100_000);
    assert_eq!(view.bytes(), 100_000);
    assert!(view.iter().all(|arg| arg == b"x"));
}

#[test]
fn views_of_arguments() {
    let request = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$0\r\n\r\n";
    let mut args = ArgRanges::default();
    let parsed = RequestParser::new().parse(request, &Limits::default(), &mut args);
    assert_eq!(parsed, Ok(Parsed::Complete { consumed: request.len() }));
    let view = args.view(request);
    assert_eq!((view.len(), view.is_empty(), view.bytes()), (3, false, 4));
    assert_eq!(
        (&view[0], view.at(1), view.get(2), view.get(3)),
        (&b"SET"[..], &b"k"[..], Some(&b""[..]), None)
    );
    assert_eq!(view.tail(1).iter().rev().collect::<Vec<_>>(), [&b""[..], b"k"]);
    assert!(view.tail(3).is_empty() && view.tail(4).is_empty());
    // Elsewhere, from a copy of the bytes and the ranges.
    let (bytes, ranges) = (view.buffer().to_vec(), view.ranges().to_vec());
    assert_eq!(Args::new(&bytes, &ranges).at(0), b"SET");
}

/// Pieces of streams: good requests, nearly good ones, and noise.
fn pieces() -> impl Strategy<Value = Vec<u8>> {
    let noise = prop_oneof![
        4 => prop_oneof![
            Just(b'\r'), Just(b'\n'), Just(b'*'), Just(b'$'), Just(b'0'), Just(b'1'), Just(b'2'),
            Just(b'-'), Just(b' '), Just(b'"'), Just(b'\''), Just(b'\\'), Just(0u8), Just(0xffu8),
        ],
        1 => any::<u8>(),
    ];
    let arg = || {
        prop_oneof![
            6 => proptest::collection::vec(any::<u8>(), 0..12),
            1 => (0usize..1200).prop_map(|length| vec![b'\r'; length]),
        ]
    };
    let request = proptest::collection::vec(arg(), 1..14).prop_map(|args| {
        let mut out = Vec::new();
        append_request(&mut out, args.iter().map(Vec::as_slice));
        out
    });
    let mutated = (request.clone(), any::<prop::sample::Index>(), any::<u8>()).prop_map(
        |(mut request, index, byte)| {
            let at = index.index(request.len());
            request[at] = byte;
            request
        },
    );
    prop_oneof![
        8 => request,
        2 => mutated,
        4 => "[ a-z\"'\\\\x0-9*]{0,12}\r?\n".prop_map(String::into_bytes),
        2 => "\\*-?[0-9]{0,3}\r\n".prop_map(String::into_bytes),
        1 => proptest::collection::vec(noise, 0..12),
    ]
}

fn streams() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(pieces(), 0..8).prop_map(|pieces| pieces.concat())
}

fn limits() -> impl Strategy<Value = Limits> {
    prop_oneof![
        3 => Just(Limits::default()),
        1 => Just(Limits { authenticated: false, ..Limits::default() }),
        1 => Just(Limits { max_bulk_len: 1000, max_multibulk: 12, authenticated: true }),
    ]
}

proptest! {
    #![proptest_config(crate::testing::config())]

    #[test]
    fn any_split_gives_the_same(
        stream in streams(),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..20),
        other in streams(),
        limits in limits(),
    ) {
        let expected = model::run(&stream, &limits);
        prop_assert_eq!(&in_one_piece(&stream, &limits), &expected);

        // Another connection is served in between, with the same `ArgRanges`.
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
        cuts.push(stream.len());
        cuts.sort_unstable();
        let mut args = ArgRanges::default();
        let (mut ours, mut others) = (Connection::default(), Connection::default());
        let mut others_bytes = other.chunks(3);
        let mut at = 0;
        for cut in cuts {
            ours.receive(&stream[at..cut], &limits, &mut args);
            others.receive(others_bytes.next().unwrap_or_default(), &limits, &mut args);
            at = cut;
        }
        for rest in others_bytes {
            others.receive(rest, &limits, &mut args);
        }
        prop_assert_eq!(ours.seen, expected);
        prop_assert_eq!(others.seen, model::run(&other, &limits));
    }

    #[test]
    fn byte_by_byte_gives_the_same(stream in streams(), limits in limits()) {
        let mut connection = Connection::default();
        let mut args = ArgRanges::default();
        for byte in &stream {
            connection.receive(core::slice::from_ref(byte), &limits, &mut args);
        }
        prop_assert_eq!(connection.seen, model::run(&stream, &limits));
    }
}
