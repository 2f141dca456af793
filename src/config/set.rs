//! CONFIG SET: several parameters at once, all or none.

use std::collections::HashSet;
use std::fmt;

use super::parameter::{Effect, Flags, split_spaces};
use super::{Config, table};

/// What the moment of a CONFIG SET permits.
#[derive(Clone, Copy, Debug, Default)]
pub struct SetContext {
    /// The data set is being loaded.
    pub loading: bool,
    /// The client may set protected parameters; see [`Config::permits`].
    pub protected_permitted: bool,
}

/// A change that has been checked but neither applied nor published.
#[derive(Debug)]
pub struct Change {
    /// The new snapshot.
    pub config: Config,
    /// What the server must do before it publishes the snapshot: each effect once, with the name of
    /// the first parameter that asks for it, in the order of the pairs.
    pub effects: Vec<(Effect, &'static str)>,
    /// The names of the parameters whose value differs from before.
    pub changed: Vec<&'static str>,
}

/// Carries out effects. Implemented by the server.
pub trait ApplyEffect {
    /// Makes the server follow `config` in what `effect` names. The error is shown to the client,
    /// after which the effects so far are applied once more with the old configuration.
    fn apply(&mut self, effect: Effect, config: &Config) -> Result<(), String>;
}

/// Why a CONFIG SET changed nothing. `Display` gives the whole error reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SetError {
    /// No parameter has this name.
    Unknown(Vec<u8>),
    /// A parameter does not take the value, or not now.
    Failed {
        /// The name that was given.
        parameter: Vec<u8>,
        /// The peers' text.
        reason: String,
    },
    /// The parameter is not to be set while the data set is loaded.
    Loading,
}

impl SetError {
    /// An error that names the parameter it is about.
    pub fn failed(parameter: impl Into<Vec<u8>>, reason: impl Into<String>) -> Self {
        Self::Failed { parameter: parameter.into(), reason: reason.into() }
    }
}

impl fmt::Display for SetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(name) => write!(
                f,
                "ERR Unknown option or number of arguments for CONFIG SET - '{}'",
                String::from_utf8_lossy(name)
            ),
            Self::Failed { parameter, reason } => write!(
                f,
                "ERR CONFIG SET failed (possibly related to argument '{}') - {reason}",
                String::from_utf8_lossy(parameter)
            ),
            Self::Loading => f.write_str("LOADING Kvasir is loading the dataset in memory"),
        }
    }
}

impl std::error::Error for SetError {}

impl Config {
    /// Checks a CONFIG SET and makes the snapshot that it asks for.
    ///
    /// As with the peers, all names are checked before any value, an unknown name outweighs other
    /// errors that come after it, and `loading` outweighs everything. O(pairs + parameters).
    pub fn set(&self, pairs: &[(&[u8], &[u8])], context: SetContext) -> Result<Change, SetError> {
        let names = check_names(pairs, context)?;
        let mut change = Change { config: self.clone(), effects: Vec::new(), changed: Vec::new() };
        for (name, (_, text)) in names.into_iter().zip(pairs) {
            let row = name.parameter;
            let words = if row.kind.takes_words() { split_spaces(text) } else { vec![*text] };
            let previous = &change.config.values[name.index];
            let value = row
                .parse(&words, Some(previous))
                .map_err(|reason| SetError::failed(name.name, reason))?;
            let changed = *previous != value;
            if changed {
                change.changed.push(row.name);
                change.config.put(name.index, value);
            }
            let asks = changed || row.flags.contains(Flags::VOLATILE);
            if let Some(effect) = row.effect.filter(|_| asks)
                && !change.effects.iter().any(|(known, _)| *known == effect)
            {
                change.effects.push((effect, row.name));
            }
        }
        Ok(change)
    }
}

fn check_names(
    pairs: &[(&[u8], &[u8])],
    context: SetContext,
) -> Result<Vec<table::Name>, SetError> {
    let mut names = Vec::with_capacity(pairs.len());
    let mut seen = HashSet::new();
    for &(given, _) in pairs {
        let name = table::lookup(given).ok_or_else(|| SetError::Unknown(given.to_vec()))?;
        let flags = name.parameter.flags;
        if flags.contains(Flags::IMMUTABLE) {
            return Err(SetError::failed(given, "can't set immutable config"));
        }
        if flags.contains(Flags::PROTECTED) && !context.protected_permitted {
            return Err(SetError::failed(given, "can't set protected config"));
        }
        if flags.contains(Flags::DENY_LOADING) && context.loading {
            return Err(SetError::Loading);
        }
        // An older name and the present one are two names here: the peers take both, in order.
        if !seen.insert(name.name) {
            return Err(SetError::failed(given, "duplicate parameter"));
        }
        names.push(name);
    }
    Ok(names)
}

impl Change {
    /// Carries the effects out and gives the snapshot to publish.
    ///
    /// When one fails, those before it are carried out again with `old`, and the error names the
    /// parameter that asked for the failed one.
    pub fn apply(self, old: &Config, hook: &mut impl ApplyEffect) -> Result<Config, SetError> {
        for (done, &(effect, parameter)) in self.effects.iter().enumerate() {
            if let Err(reason) = hook.apply(effect, &self.config) {
                for &(effect, name) in &self.effects[..=done] {
                    if let Err(reason) = hook.apply(effect, old) {
                        tracing::warn!("Failed to restore '{name}' after a CONFIG SET: {reason}");
                    }
                }
                return Err(SetError::failed(parameter, reason));
            }
        }
        Ok(self.config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPEN: SetContext = SetContext { loading: false, protected_permitted: true };

    fn set(config: &Config, pairs: &[(&str, &str)], context: SetContext) -> Result<Change, String> {
        let pairs: Vec<_> =
            pairs.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
        config.set(&pairs, context).map_err(|error| error.to_string())
    }

    fn shown(config: &Config, name: &str) -> String {
        let answer = config.get(&[name.as_bytes()]);
        String::from_utf8(answer[0].1.clone()).unwrap()
    }

    #[test]
    fn several_at_once_or_none() {
        let old = Config::default();
        let pairs = [("maxmemory", "10000001"), ("save", "3000 5"), ("HZ", "5000")];
        let change = set(&old, &pairs, OPEN).unwrap();
        assert_eq!(change.changed, ["maxmemory", "save", "hz"]);
        assert_eq!(change.config.memory.bytes_max, 10_000_001);
        assert_eq!(shown(&change.config, "save"), "3000 5");
        assert_eq!(change.config.process.hz, 500);

        let refused = [("maxmemory", "1"), ("maxmemory-clients", "200%"), ("port", "x")];
        assert_eq!(
            set(&old, &refused, OPEN).unwrap_err(),
            "ERR CONFIG SET failed (possibly related to argument 'maxmemory-clients') - \
             percentage argument must be less or equal to 100"
        );
    }

    #[test]
    fn refusals_have_the_peers_texts() {
        let old = Config::default();
        let check = |pairs: &[(&str, &str)], context, expected: &str| {
            assert_eq!(set(&old, pairs, context).unwrap_err(), expected);
        };
        check(
            &[("nosuch", "1"), ("daemonize", "yes")],
            OPEN,
            "ERR Unknown option or number of arguments for CONFIG SET - 'nosuch'",
        );
        check(
            &[("daemonize", "yes"), ("nosuch", "1")],
            OPEN,
            "ERR CONFIG SET failed (possibly related to argument 'daemonize') - \
             can't set immutable config",
        );
        check(
            &[("dir", "/")],
            SetContext::default(),
            "ERR CONFIG SET failed (possibly related to argument 'dir') - \
             can't set protected config",
        );
        check(
            &[("maxmemory", "1"), ("MaxMemory", "2")],
            OPEN,
            "ERR CONFIG SET failed (possibly related to argument 'MaxMemory') - \
             duplicate parameter",
        );
        check(
            &[("dir", "/nonexistent/directory")],
            OPEN,
            "ERR CONFIG SET failed (possibly related to argument 'dir') - \
             No such file or directory",
        );
        check(
            &[("SLOWLOG-MAX-LEN", "x")],
            OPEN,
            "ERR CONFIG SET failed (possibly related to argument 'slowlog-max-len') - \
             argument couldn't be parsed into an integer",
        );
        let loading = SetContext { loading: true, ..OPEN };
        check(&[("dir", "/")], loading, "LOADING Kvasir is loading the dataset in memory");
    }

    #[test]
    fn an_older_name_sets_the_same_value() {
        let pairs = [("slowlog-max-len", "1"), ("commandlog-slow-execution-max-len", "2")];
        let config = set(&Config::default(), &pairs, OPEN).unwrap().config;
        assert_eq!(config.monitoring.slow_len_max, 2);
        assert_eq!(shown(&config, "slowlog-max-len"), "2");
    }

    #[test]
    fn effects_come_once_and_only_for_changes() {
        let pairs = [("port", "7000"), ("bind", "127.0.0.1"), ("loglevel", "notice")];
        let change = set(&Config::default(), &pairs, OPEN).unwrap();
        assert_eq!(change.effects, [(Effect::Listeners, "port")]);
    }

    /// Fails at one effect and remembers the ports it was asked to follow.
    struct FailAt(Effect, Vec<(Effect, u16)>);

    impl ApplyEffect for FailAt {
        fn apply(&mut self, effect: Effect, config: &Config) -> Result<(), String> {
            self.1.push((effect, config.network.port));
            if effect == self.0 && config.network.port == 7000 {
                return Err("Unable to listen on this port. Check server logs.".into());
            }
            Ok(())
        }
    }

    #[test]
    fn a_failed_effect_restores_the_others() {
        let old = Config::default();
        let change = set(&old, &[("loglevel", "debug"), ("port", "7000")], OPEN).unwrap();
        let mut hook = FailAt(Effect::Listeners, Vec::new());
        assert_eq!(
            change.apply(&old, &mut hook).unwrap_err().to_string(),
            "ERR CONFIG SET failed (possibly related to argument 'port') - \
             Unable to listen on this port. Check server logs."
        );
        assert_eq!(
            hook.1,
            [
                (Effect::Log, 7000),
                (Effect::Listeners, 7000),
                (Effect::Log, 6379),
                (Effect::Listeners, 6379)
            ]
        );
    }
}
