//! The peers' shell-like patterns over parameter names, in any case.

/// Whether `text` matches `pattern`: `*`, `?`, `[abc]`, `[^a-z]`, and `\` before a literal.
///
/// O(pattern x text): a `*` that fails is retried one byte further, and only the last `*` is.
pub(super) fn matches_any_case(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while t < text.len() {
        if pattern.get(p) == Some(&b'*') {
            retry = Some((p + 1, t));
            p += 1;
            continue;
        }
        if let Some(next) = match_one(&pattern[p..], text[t]) {
            p += next;
            t += 1;
            continue;
        }
        let Some((after_star, from)) = retry else {
            return false;
        };
        retry = Some((after_star, from + 1));
        (p, t) = (after_star, from + 1);
    }
    pattern[p..].iter().all(|&byte| byte == b'*')
}

/// Matches one byte with the front of `pattern`; the length of what was used of the pattern.
fn match_one(pattern: &[u8], byte: u8) -> Option<usize> {
    let same = |a: u8| a.eq_ignore_ascii_case(&byte);
    match pattern {
        [b'?', ..] => Some(1),
        [b'[', class @ ..] => match_class(class, byte).map(|used| used + 1),
        [b'\\', literal, ..] => same(*literal).then_some(2),
        [literal, ..] => same(*literal).then_some(1),
        [] => None,
    }
}

/// Matches a class whose `[` is taken off. A class that is not closed ends with the pattern.
fn match_class(class: &[u8], byte: u8) -> Option<usize> {
    let byte = byte.to_ascii_lowercase();
    let negated = class.first() == Some(&b'^');
    let mut at = usize::from(negated);
    let mut found = false;
    loop {
        match &class[at..] {
            [] => break,
            [b']', ..] => {
                at += 1;
                break;
            }
            [b'\\', literal, ..] => {
                found |= literal.to_ascii_lowercase() == byte;
                at += 2;
            }
            [from, b'-', to, ..] => {
                let (from, to) = (from.to_ascii_lowercase(), to.to_ascii_lowercase());
                found |= (from.min(to)..=from.max(to)).contains(&byte);
                at += 3;
            }
            [literal, ..] => {
                found |= literal.to_ascii_lowercase() == byte;
                at += 1;
            }
        }
    }
    (found != negated).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("*", "port", true),
            ("max*", "MAXMEMORY", true),
            ("*of", "slaveof", true),
            ("*of", "slaveofs", false),
            ("p?rt", "port", true),
            ("p?rt", "prt", false),
            ("h[aeo]llo", "hollo", true),
            ("h[^a]llo", "hallo", false),
            ("h[a-c]llo", "hbllo", true),
            ("h[c-a]llo", "hbllo", true),
            ("a\\*b", "a*b", true),
            ("a\\*b", "axb", false),
            ("[", "a", false),
            ("[^", "a", true),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbYbZ", false),
        ] {
            assert_eq!(
                matches_any_case(pattern.as_bytes(), text.as_bytes()),
                expected,
                "{pattern} {text}"
            );
        }
    }
}
