//! Requests written as text, encoded once, with the places that change between requests.
//!
//! Words are separated by spaces, a word with spaces stands in single quotes, and a word `;` begins
//! another command of the same request. Inside a word:
//!
//! | place | stands for |
//! |---|---|
//! | `{n}` | the next number, in twelve digits |
//! | `{=}` | the same number again |
//! | `{n:6}`, `{=:6}` | its last six digits |
//! | `{n/100}`, `{=/100}` | the number divided by 100 |
//! | `{n+9}`, `{=+9}` | the number and 9 |
//! | `{value}` | the value, all of whose bytes are the same letter |
//! | `{noise}` | as long, in letters that do not compress |

use crate::numbers::Numbers;

/// Digits of a number where the template does not say.
const WIDTH: usize = 12;
/// Digits that change at most; the ones before them stay zero, which saves half of the conversion.
const CHANGING_DIGITS: usize = 8;

/// Where an encoded request has a number.
#[derive(Clone, Copy, Debug)]
struct Place {
    at: usize,
    digits: usize,
    /// Whether this place takes the next number, or has that of the place before.
    is_next: bool,
    divisor: u64,
    addend: u64,
}

/// Encoded requests, and where their numbers are.
#[derive(Debug, Default)]
pub(crate) struct Encoded {
    bytes: Vec<u8>,
    places: Vec<Place>,
}

impl Encoded {
    /// Encodes `template` `times` times.
    pub(crate) fn new(template: &str, value: &str, times: u32) -> Self {
        let mut encoded = Self::default();
        let words = words(template);
        for _ in 0..times {
            for command in words.split(|word| *word == ";") {
                encoded.bytes.extend(format!("*{}\r\n", command.len()).bytes());
                for word in command {
                    encoded.push_word(word, value);
                }
            }
        }
        encoded
    }

    fn push_word(&mut self, word: &str, value: &str) {
        let mut text = String::new();
        let mut places = Vec::new();
        let mut rest = word;
        while let Some((before, after)) = rest.split_once('{') {
            let (place, after) = after.split_once('}').expect("invariant: places are closed");
            text.push_str(before);
            if place == "value" {
                text.push_str(value);
            } else if place == "noise" {
                text.push_str(&noise(value.len()));
            } else {
                let (place, width) = parse_place(place);
                text.push_str(&"0".repeat(width));
                places.push(Place { at: text.len() - place.digits, ..place });
            }
            rest = after;
        }
        text.push_str(rest);
        self.bytes.extend(format!("${}\r\n", text.len()).bytes());
        let start = self.bytes.len();
        self.places.extend(places.into_iter().map(|p| Place { at: start + p.at, ..p }));
        self.bytes.extend(text.bytes());
        self.bytes.extend(b"\r\n");
    }

    /// The requests with zeros for numbers, for a connection to copy once.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Writes the next numbers into `request`, a copy of the bytes.
    pub(crate) fn write_numbers(&self, numbers: &mut Numbers, request: &mut [u8]) {
        let mut number = 0;
        for place in &self.places {
            if place.is_next {
                number = numbers.next();
            }
            // Most have no divisor, and a division costs more than all the rest.
            let scaled = if place.divisor == 1 { number } else { number / place.divisor };
            write_digits(&mut request[place.at..place.at + place.digits], scaled + place.addend);
        }
    }
}

/// Letters in no order, the same each time.
fn noise(count: usize) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut state = 1_u64;
    let mut letter = || {
        // Knuth's linear congruential generator, whose upper bits are the good ones.
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(LETTERS[(state >> 58) as usize])
    };
    (0..count).map(|_| letter()).collect()
}

/// The words of a template.
fn words(template: &str) -> Vec<&str> {
    // Every other part stands between quotes.
    template
        .split('\'')
        .enumerate()
        .flat_map(|(index, part)| match index % 2 {
            0 => part.split_whitespace().collect(),
            _ => vec![part],
        })
        .collect()
}

/// A place, as yet nowhere, and its width.
fn parse_place(text: &str) -> (Place, usize) {
    let number = |text: &str| text.parse().expect("invariant: templates hold numbers");
    let (text, width) =
        text.split_once(':').map_or((text, WIDTH), |(text, width)| (text, number(width) as usize));
    let is_next = text.starts_with('n');
    assert!(is_next || text.starts_with('='), "a template has the unknown place {text}");
    let (divisor, addend) = match &text[1..] {
        "" => (1, 0),
        rest if rest.starts_with('/') => (number(&rest[1..]), 0),
        rest => (1, number(rest.strip_prefix('+').expect("invariant: a sign before a number"))),
    };
    (Place { at: 0, digits: width.min(CHANGING_DIGITS), is_next, divisor, addend }, width)
}

/// Writes the last digits of `number` into `out`, two at a time.
fn write_digits(out: &mut [u8], mut number: u64) {
    const PAIRS: [[u8; 2]; 100] = {
        let mut pairs = [[b'0'; 2]; 100];
        let mut i = 0;
        while i < 100 {
            pairs[i] = [b'0' + (i / 10) as u8, b'0' + (i % 10) as u8];
            i += 1;
        }
        pairs
    };
    let mut pairs = out.rchunks_exact_mut(2);
    for pair in &mut pairs {
        pair.copy_from_slice(&PAIRS[(number % 100) as usize]);
        number /= 100;
    }
    if let [first] = pairs.into_remainder() {
        *first = b'0' + (number % 10) as u8;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(template: &str, expected: &str) {
        let encoded = Encoded::new(template, "vvv", 1);
        let mut request = encoded.bytes().to_vec();
        encoded.write_numbers(&mut Numbers::rising(1234..2000), &mut request);
        assert_eq!(String::from_utf8(request).unwrap(), expected.replace(' ', "\r\n"));
    }

    #[test]
    fn words_and_places_are_encoded() {
        check("GET key:{n}", "*2 $3 GET $16 key:000000001234 ");
        check("SET a{n:3} {value}", "*3 $3 SET $4 a234 $3 vvv ");
        check("X {n:2}{=:5} {n/100:2} {=+9:4}", "*4 $1 X $7 3401234 $2 12 $4 1244 ");
        check("MULTI ; SET {n:4} v ; EXEC", "*1 $5 MULTI *3 $3 SET $4 1234 $1 v *1 $4 EXEC ");
        let noise = Encoded::new("{noise}", &"v".repeat(100), 1);
        assert_eq!(noise.bytes().len(), "*1\r\n$100\r\n\r\n".len() + 100);
        let encoded = Encoded::new("EVAL 'a b' {n:1}", "", 2);
        let expected = "*3\r\n$4\r\nEVAL\r\n$3\r\na b\r\n$1\r\n0\r\n".repeat(2);
        assert_eq!(encoded.bytes(), expected.as_bytes());
        assert_eq!(encoded.places.len(), 2);
    }
}
