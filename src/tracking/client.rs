//! What a client has asked for: `CLIENT TRACKING`'s options, and `CLIENT CACHING`.

use std::collections::BTreeSet;

use crate::errors::CommandError;

/// A prefix of keys.
pub type Prefix = Box<[u8]>;

/// Which of the keys that a client reads are remembered.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Choice {
    /// All.
    #[default]
    All,
    /// Those of the command after `CLIENT CACHING YES`.
    OptIn,
    /// All but those of the command after `CLIENT CACHING NO`.
    OptOut,
    /// None: it hears of every key with one of its prefixes.
    Broadcast,
}

/// What `CLIENT TRACKING ON` asks for.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a word that is there or not")]
pub struct Options {
    /// `BCAST`.
    pub broadcast: bool,
    /// `OPTIN`.
    pub opt_in: bool,
    /// `OPTOUT`.
    pub opt_out: bool,
    /// `NOLOOP`.
    pub no_loop: bool,
    /// `PREFIX`, as often as it was given.
    pub prefixes: Vec<Prefix>,
}

/// A client that tracks.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ClientTracking {
    /// Which of its reads are remembered.
    pub choice: Choice,
    /// It is not told of its own changes.
    pub no_loop: bool,
    /// The client that is told in its place; 0 for none.
    pub redirect: u64,
    /// That client was gone when it was to be told something.
    pub broken: bool,
    /// `CLIENT CACHING` was called for the next command.
    pub caching: bool,
    /// The prefixes of `BCAST`, without overlaps but for what the peers allow: the empty one.
    pub prefixes: BTreeSet<Prefix>,
    /// Tells this registration from earlier ones of the same client.
    pub session: u64,
}

impl Options {
    /// What a client that tracks so far, if it does, becomes with these options. Refused with the
    /// peers' texts, in their order.
    pub fn apply(
        self,
        former: Option<&ClientTracking>,
        redirect: u64,
    ) -> Result<ClientTracking, CommandError> {
        if !self.broadcast && !self.prefixes.is_empty() {
            return Err(CommandError::Other("ERR PREFIX option requires BCAST mode to be enabled"));
        }
        let before = former.map(|former| former.choice);
        if before.is_some_and(|choice| (choice == Choice::Broadcast) != self.broadcast) {
            return Err(CommandError::Other(
                "ERR You can't switch BCAST mode on/off before disabling tracking for this \
                 client, and then re-enabling it with a different mode.",
            ));
        }
        if self.broadcast && (self.opt_in || self.opt_out) {
            return Err(CommandError::Other("ERR OPTIN and OPTOUT are not compatible with BCAST"));
        }
        if self.opt_in && self.opt_out {
            return Err(CommandError::Other(
                "ERR You can't specify both OPTIN mode and OPTOUT mode",
            ));
        }
        if self.opt_in && before == Some(Choice::OptOut)
            || self.opt_out && before == Some(Choice::OptIn)
        {
            return Err(CommandError::Other(
                "ERR You can't switch OPTIN/OPTOUT mode before disabling tracking for this \
                 client, and then re-enabling it with a different mode.",
            ));
        }
        let mut prefixes = former.map(|former| former.prefixes.clone()).unwrap_or_default();
        check_overlaps(&prefixes, &self.prefixes)?;
        let choice = match (self.broadcast, self.opt_in, self.opt_out) {
            (true, ..) => Choice::Broadcast,
            (_, true, _) => Choice::OptIn,
            (_, _, true) => Choice::OptOut,
            _ => Choice::All,
        };
        if self.broadcast && self.prefixes.is_empty() {
            prefixes.insert(Box::default());
        }
        prefixes.extend(self.prefixes);
        let caching = former.is_some_and(|former| former.caching);
        let (no_loop, broken, session) = (self.no_loop, false, 0);
        Ok(ClientTracking { choice, no_loop, redirect, broken, caching, prefixes, session })
    }
}

/// Refuses prefixes of which one begins with another.
fn check_overlaps(former: &BTreeSet<Prefix>, new: &[Prefix]) -> Result<(), CommandError> {
    let overlap = |one: &Prefix, other: &Prefix| one.starts_with(other) || other.starts_with(one);
    let refuse = |one: &[u8], kind: &str, other: &[u8]| {
        let mut text = b"ERR Prefix '".to_vec();
        text.extend_from_slice(one);
        text.extend_from_slice(b"' overlaps with ");
        text.extend_from_slice(kind.as_bytes());
        text.extend_from_slice(b" prefix '");
        text.extend_from_slice(other);
        CommandError::Quoting {
            before: "",
            argument: text,
            after: "'. Prefixes for a single client must not overlap.",
        }
    };
    for (index, one) in new.iter().enumerate() {
        if let Some(other) = former.iter().find(|other| overlap(one, other)) {
            return Err(refuse(one, "an existing", other));
        }
        if let Some(other) = new[index + 1..].iter().find(|other| overlap(one, other)) {
            return Err(refuse(one, "another provided", other));
        }
    }
    Ok(())
}

impl ClientTracking {
    /// What the registration occupies with its prefixes, in bytes. O(prefixes). What is remembered
    /// of its reads belongs to the shards.
    pub fn bytes(&self) -> usize {
        let each = |prefix: &Prefix| size_of::<Prefix>() + prefix.len();
        size_of::<Self>() + self.prefixes.iter().map(each).sum::<usize>()
    }

    /// Whether the keys that its next command reads are remembered.
    pub fn remembers(&self) -> bool {
        match self.choice {
            Choice::All => true,
            Choice::OptIn => self.caching,
            Choice::OptOut => !self.caching,
            Choice::Broadcast => false,
        }
    }

    /// What `CLIENT TRACKINGINFO` shows of it besides `on`.
    pub fn flags(&self) -> impl Iterator<Item = &'static str> {
        let choice = match self.choice {
            Choice::All => None,
            Choice::OptIn => Some("optin"),
            Choice::OptOut => Some("optout"),
            Choice::Broadcast => Some("bcast"),
        };
        let caching = match self.choice {
            Choice::OptIn if self.caching => Some("caching-yes"),
            Choice::OptOut if self.caching => Some("caching-no"),
            _ => None,
        };
        let no_loop = self.no_loop.then_some("noloop");
        let broken = self.broken.then_some("broken_redirect");
        [choice, caching, no_loop, broken].into_iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(words: &str) -> Options {
        let mut options = Options::default();
        for word in words.split_whitespace() {
            match word {
                "bcast" => options.broadcast = true,
                "optin" => options.opt_in = true,
                "optout" => options.opt_out = true,
                "noloop" => options.no_loop = true,
                prefix => options.prefixes.push(prefix.as_bytes().into()),
            }
        }
        options
    }

    fn refusal(former: Option<&str>, words: &str) -> String {
        let former = former.map(|words| options(words).apply(None, 0).unwrap());
        let result = options(words).apply(former.as_ref(), 0);
        result.err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn a_registration_occupies_its_prefixes_too() {
        let bytes = |words| options(words).apply(None, 0).unwrap().bytes();
        assert_eq!(bytes("bcast abc") - bytes("bcast a"), 2);
        assert_eq!(bytes("bcast a b"), 2 * bytes("bcast a") - bytes("noloop"));
    }

    #[test]
    fn options_that_do_not_go_together_are_refused() {
        let check = |former, words, text: &str| assert_eq!(refusal(former, words), text);
        check(None, "bcast a noloop", "");
        check(None, "a", "ERR PREFIX option requires BCAST mode to be enabled");
        check(None, "bcast optin", "ERR OPTIN and OPTOUT are not compatible with BCAST");
        check(None, "optin optout", "ERR You can't specify both OPTIN mode and OPTOUT mode");
        check(Some("optin"), "", "");
        assert!(refusal(Some("optin"), "optout").contains("can't switch OPTIN/OPTOUT mode"));
        assert!(refusal(Some(""), "bcast").contains("can't switch BCAST mode on/off"));
        assert!(refusal(Some("bcast"), "").contains("can't switch BCAST mode on/off"));
    }

    #[test]
    fn prefixes_must_not_overlap() {
        let check = |former, words, text: &str| {
            let after = "Prefixes for a single client must not overlap.";
            assert_eq!(refusal(former, words), format!("ERR Prefix {text}. {after}"));
        };
        check(None, "bcast FOOBAR FOO", "'FOOBAR' overlaps with another provided prefix 'FOO'");
        check(None, "bcast X FOO FOOB", "'FOO' overlaps with another provided prefix 'FOOB'");
        check(Some("bcast FOO"), "bcast FO", "'FO' overlaps with an existing prefix 'FOO'");
        check(Some("bcast FOO"), "bcast FOO", "'FOO' overlaps with an existing prefix 'FOO'");
        let before = options("bcast a b").apply(None, 0).unwrap();
        let after = options("bcast c").apply(Some(&before), 7).unwrap();
        assert_eq!((after.prefixes.len(), after.redirect), (3, 7));
        // The peers let the empty one come later, and nothing after it.
        assert_eq!(options("bcast").apply(Some(&before), 0).unwrap().prefixes.len(), 3);
    }

    #[test]
    fn caching_turns_the_choice_around_once() {
        let remembers = |words: &str, caching| {
            let tracking = options(words).apply(None, 0).unwrap();
            ClientTracking { caching, ..tracking }.remembers()
        };
        assert_eq!([remembers("", false), remembers("bcast", false)], [true, false]);
        assert_eq!([remembers("optin", false), remembers("optin", true)], [false, true]);
        assert_eq!([remembers("optout", false), remembers("optout", true)], [true, false]);
    }
}
