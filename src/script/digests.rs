//! The digests of texts that `EVAL` brings again and again.

use super::cache::Digest;
use crate::sha1::sha1;

/// Texts that are remembered.
const PLACES: usize = 64;
/// The longest text that is remembered, bytes.
const TEXT_MAX: usize = 16 << 10;

/// Remembers digests of texts, since a digest costs more than a short script. A text has one place
/// by its hash, which the last one has that came. At most 1 MiB.
#[derive(Default, Debug)]
pub struct Digests {
    /// Empty until the first text comes.
    places: Vec<Option<(Box<[u8]>, Digest)>>,
    state: ahash::RandomState,
}

impl Digests {
    /// The digest of a text. Reads it twice if it is remembered.
    pub fn of(&mut self, text: &[u8]) -> Digest {
        if text.len() > TEXT_MAX {
            return sha1(text);
        }
        self.places.resize(PLACES, None);
        let place = &mut self.places[self.state.hash_one(text) as usize % PLACES];
        match place {
            Some((known, digest)) if **known == *text => *digest,
            _ => {
                let digest = sha1(text);
                *place = Some((text.into(), digest));
                digest
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_has_its_own_digest_whether_it_is_remembered_or_not() {
        let mut digests = Digests::default();
        let texts: Vec<Vec<u8>> = (0..PLACES * 3).map(|n| vec![b'-'; n]).collect();
        let long = vec![b' '; TEXT_MAX + 1];
        for text in texts.iter().chain(&texts).chain([&long, &long]) {
            assert_eq!(digests.of(text), sha1(text));
            assert_eq!(digests.of(text), sha1(text));
        }
        let remembered = digests.places.iter().flatten();
        assert!(remembered.into_iter().all(|(text, digest)| sha1(text) == *digest));
    }
}
