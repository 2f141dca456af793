//! Names of keys made of elements.

/// Where a value is found, given an element.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Pattern<'a> {
    /// `#`: the element itself.
    Element,
    /// Without a `*` no key is meant.
    Constant,
    /// The element between two texts names a key, and perhaps a field of the hash that it holds.
    Key { before: &'a [u8], after: &'a [u8], field: Option<&'a [u8]> },
}

/// What a pattern means for one element.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Lookup {
    /// This value.
    Value(Vec<u8>),
    /// No value.
    Nothing,
    /// The string at a key.
    Key(Vec<u8>),
    /// A field of the hash at a key.
    Field { key: Vec<u8>, field: Box<[u8]> },
}

impl<'a> Pattern<'a> {
    /// Reads a pattern. A field follows the first `->` behind the `*`, unless nothing follows it.
    pub(super) fn parse(text: &'a [u8]) -> Self {
        if text == b"#" {
            return Self::Element;
        }
        let Some(star) = memchr::memchr(b'*', text) else { return Self::Constant };
        let (before, rest) = (&text[..star], &text[star + 1..]);
        match memchr::memmem::find(rest, b"->") {
            Some(arrow) if arrow + 2 < rest.len() => {
                Self::Key { before, after: &rest[..arrow], field: Some(&rest[arrow + 2..]) }
            }
            _ => Self::Key { before, after: rest, field: None },
        }
    }

    /// Whether it names keys.
    pub(super) fn is_key(&self) -> bool {
        matches!(self, Self::Key { .. })
    }

    /// What it means for an element.
    pub(super) fn lookup(&self, element: &[u8]) -> Lookup {
        match self {
            Self::Element => Lookup::Value(element.to_vec()),
            Self::Constant => Lookup::Nothing,
            Self::Key { before, after, field } => {
                let key = [before, element, after].concat();
                match field {
                    Some(field) => Lookup::Field { key, field: (*field).into() },
                    None => Lookup::Key(key),
                }
            }
        }
    }
}

impl Lookup {
    /// The key that is looked up.
    pub(super) fn key(&self) -> Option<&[u8]> {
        match self {
            Self::Value(_) | Self::Nothing => None,
            Self::Key(key) | Self::Field { key, .. } => Some(key),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_element_takes_the_place_of_the_first_star() {
        let lookup = |pattern: &'static str| Pattern::parse(pattern.as_bytes()).lookup(b"e");
        let key = |key: &str| Lookup::Key(key.as_bytes().to_vec());
        assert_eq!(lookup("#"), Lookup::Value(b"e".to_vec()));
        assert_eq!(lookup("none"), Lookup::Nothing);
        assert_eq!(lookup("*"), key("e"));
        assert_eq!(lookup("a*b*"), key("aeb*"));
        assert_eq!(lookup("x:*->"), key("x:e->"));
        assert_eq!(lookup("a->*b"), key("a->eb"));
        let (key, field) = (b"aeb".to_vec(), Box::from(&b"f->g"[..]));
        assert_eq!(lookup("a*b->f->g"), Lookup::Field { key, field });
    }
}
