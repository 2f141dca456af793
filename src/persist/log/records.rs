//! Records of changes in the form in which the peers log and replicate them: commands, encoded as
//! requests, each in a database.

use kvasir_proto::append_request;

/// Records in their order. What stands between them (`SELECT`, annotations) is added where they
/// are written.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Records {
    bytes: Vec<u8>,
    runs: Vec<Run>,
    count: usize,
    told: usize,
}

/// Records of one database that follow each other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Run {
    db: u32,
    /// Where it ends.
    end: usize,
}

/// A place between two records.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Mark {
    bytes: usize,
    runs: usize,
    count: usize,
    told: usize,
}

/// The database of what does not depend on one: a transaction selects its own, as the peers' do.
pub(super) const ANY_DB: u32 = u32::MAX;

/// Buffers larger than this are given back when the records have been taken, bytes.
const KEEP_BYTES_MAX: usize = 1 << 20;

impl Records {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Those that a command has caused by what it does, without the keys that were due anyway.
    pub fn told(&self) -> usize {
        self.told
    }

    /// Adds what a command does.
    pub fn tell<'a>(&mut self, db: u32, words: impl ExactSizeIterator<Item = &'a [u8]>) {
        self.push(db, words);
        self.told += 1;
    }

    /// Adds that a key, or an element of one, has gone by itself: how it is removed.
    pub fn note_gone(&mut self, db: u32, words: &[&[u8]]) {
        self.push(db, words.iter().copied());
    }

    fn push<'a>(&mut self, db: u32, words: impl ExactSizeIterator<Item = &'a [u8]>) {
        append_request(&mut self.bytes, words);
        self.end_run(db);
        self.count += 1;
    }

    fn end_run(&mut self, db: u32) {
        let end = self.bytes.len();
        match self.runs.last_mut() {
            Some(run) if run.db == db => run.end = end,
            _ => self.runs.push(Run { db, end }),
        }
    }

    /// Adds those of `other`, which is empty afterwards.
    pub fn append(&mut self, other: &mut Self) {
        if self.is_empty() {
            std::mem::swap(self, other);
            return;
        }
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&other.bytes);
        for run in &other.runs {
            match self.runs.last_mut() {
                Some(last) if last.db == run.db => last.end = start + run.end,
                _ => self.runs.push(Run { db: run.db, end: start + run.end }),
            }
        }
        self.count += other.count;
        self.told += other.told;
        other.clear();
    }

    /// The end of what there is.
    pub fn mark(&self) -> Mark {
        let (bytes, runs) = (self.bytes.len(), self.runs.len());
        Mark { bytes, runs, count: self.count, told: self.told }
    }

    /// Takes those after the mark.
    #[must_use]
    pub fn split_off(&mut self, mark: Mark) -> Self {
        if mark.count == self.count {
            return Self::default();
        }
        let bytes = self.bytes.split_off(mark.bytes);
        // The run before the mark may go on behind it.
        let continued = mark.runs > 0 && self.runs[mark.runs - 1].end > mark.bytes;
        let first = if continued { mark.runs - 1 } else { mark.runs };
        let moved = |run: &Run| Run { db: run.db, end: run.end - mark.bytes };
        let runs = self.runs[first..].iter().map(moved).collect();
        if continued {
            self.runs[mark.runs - 1].end = mark.bytes;
        }
        self.runs.truncate(mark.runs);
        let split =
            Self { bytes, runs, count: self.count - mark.count, told: self.told - mark.told };
        (self.count, self.told) = (mark.count, mark.told);
        split
    }

    /// Makes one transaction of those after the mark, if there are several of which at least one is
    /// what a command has done.
    pub fn unite(&mut self, mark: Mark) {
        if self.count - mark.count < 2 || self.told == mark.told {
            return;
        }
        let mut unit = self.split_off(mark);
        let last = unit.runs[unit.runs.len() - 1].db;
        append_request(&mut self.bytes, [b"MULTI".as_slice()]);
        self.end_run(ANY_DB);
        self.append(&mut unit);
        append_request(&mut self.bytes, [b"EXEC".as_slice()]);
        self.end_run(last);
    }

    /// Forgets all of them.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(KEEP_BYTES_MAX);
        self.runs.clear();
        (self.count, self.told) = (0, 0);
    }

    /// The database of all records, if it is one.
    pub(super) fn only_db(&self) -> Option<u32> {
        match self.runs[..] {
            [Run { db, .. }] if db != ANY_DB => Some(db),
            _ => None,
        }
    }

    /// Gives the bytes of all records away, for a buffer that is empty: there are no records then.
    pub(super) fn swap_bytes(&mut self, empty: &mut Vec<u8>) {
        debug_assert!(empty.is_empty(), "what is in it would be taken for records");
        std::mem::swap(&mut self.bytes, empty);
        self.clear();
    }

    /// The encoded records by database, in their order.
    pub fn runs(&self) -> impl Iterator<Item = (u32, &[u8])> {
        let mut start = 0;
        self.runs.iter().map(move |run| {
            let bytes = &self.bytes[start..run.end];
            start = run.end;
            (run.db, bytes)
        })
    }

    /// Bytes of all records.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tell(records: &mut Records, db: u32, words: &[&[u8]]) {
        records.tell(db, words.iter().copied());
    }

    /// The words of all records, with a `SELECT` where the database changes.
    fn shown(records: &Records) -> String {
        let mut shown = Vec::new();
        for (db, bytes) in records.runs() {
            shown.push(if db == ANY_DB { "@any".to_owned() } else { format!("@{db}") });
            let text = String::from_utf8(bytes.to_vec()).unwrap();
            let words = text.split("\r\n").filter(|line| {
                !line.is_empty() && !line.starts_with('$') && !line.starts_with('*')
            });
            shown.extend(words.map(str::to_owned));
        }
        shown.join(" ")
    }

    #[test]
    fn a_record_is_a_request() {
        let mut records = Records::default();
        tell(&mut records, 0, &[b"SET", b"key", b""]);
        let bytes = b"*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$0\r\n\r\n".as_slice();
        assert_eq!(records.runs().collect::<Vec<_>>(), [(0, bytes)]);
        assert_eq!(records.len(), bytes.len());
    }

    #[test]
    fn several_records_become_one_transaction() {
        let mut records = Records::default();
        tell(&mut records, 0, &[b"A"]);
        let mark = records.mark();
        tell(&mut records, 0, &[b"B"]);
        records.unite(mark);
        assert_eq!(shown(&records), "@0 A B", "one alone is whole by itself");
        tell(&mut records, 3, &[b"C"]);
        records.unite(mark);
        assert_eq!(shown(&records), "@0 A @any MULTI @0 B @3 C EXEC");
        let mark = records.mark();
        records.note_gone(3, &[b"DEL", b"x"]);
        records.note_gone(3, &[b"DEL", b"y"]);
        records.unite(mark);
        assert_eq!(
            shown(&records),
            "@0 A @any MULTI @0 B @3 C EXEC DEL x DEL y",
            "they have gone alone"
        );
    }

    #[test]
    fn records_are_split_and_joined() {
        let dbs = [0, 0, 1, 1, 1, 0, 2];
        for at in 0..=dbs.len() {
            let mut records = Records::default();
            let mut mark = records.mark();
            for (index, db) in dbs.into_iter().enumerate() {
                if index == at {
                    mark = records.mark();
                }
                tell(&mut records, db, &[index.to_string().as_bytes()]);
            }
            if at == dbs.len() {
                mark = records.mark();
            }
            let whole = records.clone();
            let mut rest = records.split_off(mark);
            assert_eq!(rest.told(), dbs.len() - at);
            assert_eq!(records.len() + rest.len(), whole.len());
            records.append(&mut rest);
            assert_eq!(records, whole, "split at {at}");
            assert!(rest.is_empty());
        }
    }
}
