//! The scripts that clients have sent: one cache for the whole server.
//!
//! A map that is replaced as a whole when a script comes or goes; cores read it without locks, so
//! a script is known everywhere as soon as it is known anywhere. What `EVAL` has brought is
//! bounded: the one that was used the longest ago goes, as in the peers. What `SCRIPT LOAD` has
//! brought stays until `SCRIPT FLUSH`.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

use arc_swap::ArcSwap;

use super::contained;
use super::shebang::{self, Declared};
use crate::errors::CommandError;
use crate::sha1;

/// Scripts of `EVAL` that are kept.
const EVALUATED_MAX: usize = 500;

/// The SHA-1 of a script's body.
pub type Digest = [u8; sha1::HASH_BYTES];

/// What is known of the keys that a script uses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reach {
    /// It has not written yet.
    Unknown,
    /// When it first wrote, it used only keys of the shard that owns its declared ones.
    OneShard,
    /// It has used keys beyond the shard of its declared ones: it runs under locks on everything.
    Everything,
}

/// What has been learnt of the keys of a script or a function. Only a hint for where to begin:
/// nothing breaks if it is outdated.
#[derive(Default, Debug)]
pub struct ReachHint(AtomicU8);

impl ReachHint {
    /// What is known.
    pub fn get(&self) -> Reach {
        match self.0.load(Ordering::Relaxed) {
            0 => Reach::Unknown,
            1 => Reach::OneShard,
            _ => Reach::Everything,
        }
    }

    /// Notes what has been learnt; the widest counts.
    pub fn note(&self, reach: Reach) {
        self.0.fetch_max(reach as u8, Ordering::Relaxed);
    }
}

/// A script.
#[derive(Debug)]
pub struct Script {
    /// Its name.
    pub digest: Digest,
    /// As it was sent.
    pub body: Box<[u8]>,
    /// Where the code begins in the body.
    pub code_at: usize,
    /// What its first line declares.
    pub declared: Declared,
    /// Whether its text shows that it uses no keys but those that it is given.
    pub is_contained: bool,
    /// What is known of its keys.
    pub reach: ReachHint,
    loaded: AtomicBool,
    used_us: AtomicU64,
}

impl Script {
    fn new(digest: Digest, body: &[u8], loaded: bool, now_us: u64) -> Result<Self, CommandError> {
        let (declared, code_at) = shebang::parse(body)?;
        let is_contained = contained::is_contained(&body[code_at..]);
        Ok(Self {
            digest,
            body: body.into(),
            code_at,
            declared,
            is_contained,
            reach: ReachHint::default(),
            loaded: AtomicBool::new(loaded),
            used_us: AtomicU64::new(now_us),
        })
    }

    /// The code, without the first line if that is a declaration.
    pub fn code(&self) -> &[u8] {
        &self.body[self.code_at..]
    }

    fn note_use(&self, now_us: u64) {
        // Most scripts are used often: the line stays shared between the cores if nothing changes.
        if self.used_us.load(Ordering::Relaxed) < now_us {
            self.used_us.store(now_us, Ordering::Relaxed);
        }
    }
}

type Scripts = HashMap<Digest, Arc<Script>, ahash::RandomState>;

/// The scripts of the server.
#[derive(Default)]
pub struct Cache {
    scripts: ArcSwap<Scripts>,
    /// How often it was flushed.
    flushes: AtomicU64,
    evicted: AtomicU64,
}

impl Cache {
    /// The script of this name, which is used at this moment.
    pub fn find(&self, digest: &Digest, now_us: u64) -> Option<Arc<Script>> {
        let script = self.scripts.load().get(digest).cloned()?;
        script.note_use(now_us);
        Some(script)
    }

    /// Whether there is a script of this name.
    pub fn contains(&self, digest: &Digest) -> bool {
        self.scripts.load().contains_key(digest)
    }

    /// Adds a script that has been compiled without error. `loaded` ones are never evicted.
    pub fn add(&self, script: &Arc<Script>, loaded: bool) {
        if loaded {
            script.loaded.store(true, Ordering::Relaxed);
        }
        let mut evicted = 0;
        self.scripts.rcu(|scripts| {
            let mut scripts = Scripts::clone(scripts);
            let entry = scripts.entry(script.digest).or_insert_with(|| Arc::clone(script));
            entry.loaded.fetch_or(loaded, Ordering::Relaxed);
            evicted = evict(&mut scripts, &script.digest);
            scripts
        });
        self.evicted.fetch_add(evicted, Ordering::Relaxed);
    }

    /// Forgets every script.
    pub fn flush(&self) {
        self.scripts.store(Arc::default());
        self.flushes.fetch_add(1, Ordering::Release);
    }

    /// Changes when the cache is flushed: interpreters begin anew then.
    pub fn flushes(&self) -> u64 {
        self.flushes.load(Ordering::Acquire)
    }

    /// How many scripts there are.
    pub fn len(&self) -> usize {
        self.scripts.load().len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Scripts evicted since the start.
    pub fn evicted(&self) -> u64 {
        self.evicted.load(Ordering::Relaxed)
    }

    /// Bytes of all bodies and what belongs to them.
    pub fn bytes(&self) -> usize {
        let scripts = self.scripts.load();
        let each = size_of::<Script>() + size_of::<Digest>() + size_of::<Arc<Script>>();
        scripts.values().map(|script| script.body.len() + each).sum()
    }
}

/// Makes room among the scripts of `EVAL`, but keeps the one that is just coming.
fn evict(scripts: &mut Scripts, coming: &Digest) -> u64 {
    let evictable = |script: &&Arc<Script>| !script.loaded.load(Ordering::Relaxed);
    let mut count = scripts.values().filter(evictable).count();
    let mut evicted = 0;
    while count > EVALUATED_MAX {
        let others = scripts.values().filter(evictable).filter(|script| script.digest != *coming);
        let oldest = others.min_by_key(|script| script.used_us.load(Ordering::Relaxed));
        let Some(oldest) = oldest.map(|script| script.digest) else { break };
        scripts.remove(&oldest);
        count -= 1;
        evicted += 1;
    }
    evicted
}

/// Reads a new script's first line. The rest is for the interpreter.
pub fn script(digest: Digest, body: &[u8], now_us: u64) -> Result<Arc<Script>, CommandError> {
    Ok(Arc::new(Script::new(digest, body, false, now_us)?))
}

/// The digest that 40 hexadecimal digits of any case name.
pub fn digest_of(hex: &[u8]) -> Option<Digest> {
    let hex: &[u8; 2 * sha1::HASH_BYTES] = hex.try_into().ok()?;
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    };
    let mut digest = Digest::default();
    for (byte, pair) in digest.iter_mut().zip(hex.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(body: &[u8], now_us: u64) -> Result<Arc<Script>, CommandError> {
        super::script(sha1::sha1(body), body, now_us)
    }

    #[test]
    fn the_longest_unused_script_of_eval_goes_and_loaded_ones_stay() {
        let cache = Cache::default();
        let body = |n: usize| format!("return {n}").into_bytes();
        cache.add(&script(&body(0), 0).unwrap(), true);
        for n in 1..=EVALUATED_MAX {
            cache.add(&script(&body(n), n as u64).unwrap(), false);
        }
        assert_eq!((cache.len(), cache.evicted()), (EVALUATED_MAX + 1, 0));
        let has = |n| cache.contains(&sha1::sha1(&body(n)));
        assert!(cache.find(&sha1::sha1(&body(1)), 10_000).is_some(), "it becomes the newest");
        cache.add(&script(b"return 'more'", 10_001).unwrap(), false);
        assert_eq!((cache.len(), cache.evicted()), (EVALUATED_MAX + 1, 1));
        assert!(has(0) && has(1) && !has(2) && has(3));
        cache.flush();
        assert!(cache.is_empty() && cache.flushes() == 1);
    }

    #[test]
    fn digests_are_read_in_any_case() {
        let digest = sha1::sha1(b"return 1");
        let hex = sha1::to_hex(&digest);
        assert_eq!(digest_of(hex.as_bytes()), Some(digest));
        assert_eq!(digest_of(hex.to_uppercase().as_bytes()), Some(digest));
        assert_eq!(digest_of(&hex.as_bytes()[1..]), None);
        assert_eq!(digest_of(&[b'g'; 40]), None);
    }
}
