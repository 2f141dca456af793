//! The peers' shell-like patterns: `*`, `?`, `[abc]`, `[^a-z]`, and `\` before a literal.
//!
//! Only the last `*` is ever tried again, one byte further: what an earlier one could give up is
//! covered by the later one. So a match takes O(pattern x text) at worst, and no pattern, however
//! hostile, takes exponential time.
//!
//! An empty text matches the empty pattern only, and not `*`, as with the peers.

/// Patterns with more stars than this match nothing that needs them all, as with the peers, which
/// go no deeper.
const STARS_MAX: usize = 1000;

/// Whether the whole of `text` matches `pattern`.
pub fn matches(pattern: &[u8], text: &[u8]) -> bool {
    matches_by(pattern, text, |byte| byte)
}

/// Whether a key matches the pattern of KEYS or SCAN: `*` alone stands for every key, also for the
/// empty one, which no other pattern with a star matches.
pub fn matches_key(pattern: &[u8], key: &[u8]) -> bool {
    pattern == b"*" || matches(pattern, key)
}

/// Whether the whole of `text` matches `pattern`, ASCII letters in any case.
pub fn matches_any_case(pattern: &[u8], text: &[u8]) -> bool {
    matches_by(pattern, text, |byte| byte.to_ascii_lowercase())
}

fn matches_by(pattern: &[u8], text: &[u8], fold: impl Fn(u8) -> u8) -> bool {
    if text.is_empty() {
        return pattern.is_empty();
    }
    let (mut rest, mut at) = (pattern, 0);
    let mut stars = 0;
    // What follows the last `*`, and where in the text it is to be tried next.
    let mut retry: Option<(&[u8], usize)> = None;
    while let Some(&byte) = text.get(at) {
        if let [b'*', after @ ..] = rest {
            rest = after;
            retry = Some((after, at + 1));
            // Stars in a row are one; the last may be anything.
            stars += usize::from(!matches!(after, [] | [b'*', ..]));
            if stars > STARS_MAX {
                return false;
            }
        } else if let Some(after) = match_byte(rest, byte, &fold) {
            rest = after;
            at += 1;
        } else if let Some((after_star, next)) = retry {
            rest = after_star;
            at = next;
            retry = Some((after_star, next + 1));
        } else {
            return false;
        }
    }
    rest.iter().all(|&byte| byte == b'*')
}

/// Matches one byte with the front of `pattern`, which is no `*`. Returns what follows of the
/// pattern.
fn match_byte(pattern: &[u8], byte: u8, fold: impl Fn(u8) -> u8) -> Option<&[u8]> {
    match pattern {
        [b'?', rest @ ..] => Some(rest),
        [b'[', class @ ..] => match_class(class, fold(byte), fold),
        [b'\\', literal, rest @ ..] | [literal, rest @ ..] => {
            (fold(*literal) == fold(byte)).then_some(rest)
        }
        [] => None,
    }
}

/// Matches a folded byte with a class, whose `[` has been taken off. A class that is never closed
/// ends with the pattern.
fn match_class(class: &[u8], byte: u8, fold: impl Fn(u8) -> u8) -> Option<&[u8]> {
    let (negated, mut rest) = match class {
        [b'^', rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    let mut found = false;
    loop {
        rest = match rest {
            [] => break,
            [b']', after @ ..] => {
                rest = after;
                break;
            }
            [b'\\', literal, after @ ..] => {
                found |= fold(*literal) == byte;
                after
            }
            [from, b'-', to, after @ ..] => {
                let (from, to) = (fold(*from.min(to)), fold(*from.max(to)));
                found |= (from..=to).contains(&byte);
                after
            }
            [literal, after @ ..] => {
                found |= fold(*literal) == byte;
                after
            }
        };
    }
    (found != negated).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, text, expected) in [
            ("", "", true),
            ("", "a", false),
            ("*", "", false),
            ("**", "", false),
            ("**", "a", true),
            ("a*c", "abbc", true),
            ("a*c", "abbcd", false),
            ("*ab*ab", "aabxabab", true),
            ("*ab*ab", "aabxaba", false),
            ("h?llo", "hallo", true),
            ("h?llo", "hllo", false),
            ("h[ae]llo", "hello", true),
            ("h[ae]llo", "hillo", false),
            ("h[^ae]llo", "hillo", true),
            ("h[a-c]llo", "hbllo", true),
            ("h[c-a]llo", "hbllo", true),
            ("h[a-]", "h-", false),
            ("h[a-]", "h^", true),
            ("h[\\]]", "h]", true),
            ("h[", "h[", false),
            ("h[^", "hx", true),
            ("h[ab", "hb", true),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("a\\", "a\\", true),
            ("Hello", "hello", false),
        ] {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn a_star_alone_means_every_key() {
        assert!(matches_key(b"*", b""));
        assert!(!matches_key(b"**", b""));
        assert!(matches_key(b"", b""));
        assert!(matches_key(b"**", b"a"));
    }

    #[test]
    fn any_case() {
        assert!(matches_any_case(b"MAX[A-N]*", b"maxmemory"));
        assert!(matches_any_case(b"client|*", b"CLIENT|LIST"));
        assert!(!matches_any_case(b"[^M]ax", b"max"));
    }

    #[test]
    fn too_many_stars_match_nothing() {
        let text = [b'a'; 1002];
        assert!(matches(&b"*?".repeat(1000), &text));
        assert!(matches(&[b"*?".repeat(1000), b"**".to_vec()].concat(), &text));
        assert!(matches(&b"**?".repeat(1000), &text));
        assert!(!matches(&b"*?".repeat(1001), &text));
    }

    #[test]
    fn many_stars_do_not_multiply() {
        let pattern = b"a*".repeat(200);
        let text = b"a".repeat(2_000);
        assert!(!matches(&[&pattern[..], b"b"].concat(), &text));
    }
}
