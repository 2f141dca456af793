//! The log against a disk that writes less than it is asked to, or nothing.

use super::*;

fn records(words: &[&[u8]]) -> Records {
    let mut records = Records::default();
    records.tell(0, words.iter().copied());
    records
}

struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn open(&self, name: &str) -> (LogFile, u64) {
        LogFile::open(&self.0.path().join(name)).unwrap()
    }

    fn bytes(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.0.path().join(name)).unwrap()
    }
}

/// A log with a file, after its `SELECT`.
fn opened(files: &Files, policy: FlushPolicy) -> Log {
    let log = Log::new(1);
    log.configure(policy, false);
    let (file, bytes) = files.open("a");
    log.open(file, bytes);
    log
}

/// Does what a core does with a write.
fn write(append: &mut Append) {
    append.write().unwrap();
}

/// Writes until there is nothing to do; what each has come to.
fn settle(log: &Log, now_us: u64) -> Vec<Written> {
    let mut outcomes = Vec::new();
    while let Some(mut append) = log.begin(now_us) {
        write(&mut append);
        outcomes.push(log.finish(append, Ok(()), now_us));
    }
    outcomes
}

const SELECT: &[u8] = b"*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n";

#[test]
fn one_flush_serves_all_who_came_before_it() {
    let files = Files::new();
    let log = opened(&files, FlushPolicy::Always);
    let first = log.append(&mut records(&[b"A"]), 0);
    let mut append = log.begin(5).expect("there is something to write");
    assert!(append.flushes);
    let second = log.append(&mut records(&[b"B"]), 0);
    assert_eq!(log.begin(5).map(|_| ()), None, "one write at a time");
    write(&mut append);
    assert_eq!(log.finish(append, Ok(()), 6), Written::Done);
    assert_eq!(log.durable(), first);
    let third = log.append(&mut records(&[b"C"]), 0);
    assert!(second < third);
    assert_eq!(settle(&log, 7), [Written::Done]);
    assert_eq!((log.durable(), log.is_settled()), (third, true));
    assert_eq!(
        files.bytes("a"),
        [SELECT, b"*1\r\n$1\r\nA\r\n*1\r\n$1\r\nB\r\n*1\r\n$1\r\nC\r\n"].concat()
    );
}

#[test]
fn a_flush_may_wait_for_others_as_long_as_the_last_one_took() {
    let files = Files::new();
    let log = opened(&files, FlushPolicy::Always);
    assert_eq!(log.gathers_until(0), None, "nobody has been flushed");
    for (took_us, waits_us) in [(300, 300), (50_000, GATHER_US_MAX)] {
        log.append(&mut records(&[b"A"]), 0);
        let mut append = log.begin(1_000).unwrap();
        assert_eq!(log.gathers_until(1_000), None, "there is a flush");
        write(&mut append);
        let now_us = 1_000 + took_us;
        log.finish(append, Ok(()), now_us);
        assert_eq!(log.gathers_until(now_us), Some(now_us + waits_us));
        assert_eq!(log.gathers_until(now_us + waits_us), None);
        log.configure(FlushPolicy::EverySecond, false);
        assert_eq!(log.gathers_until(now_us), None);
        log.configure(FlushPolicy::Always, false);
    }
}

#[test]
fn every_second_means_what_it_says() {
    let files = Files::new();
    let log = opened(&files, FlushPolicy::EverySecond);
    log.append(&mut records(&[b"A"]), 0);
    let mut append = log.begin(FLUSH_US).unwrap();
    assert!(append.flushes, "the last flush was long ago");
    write(&mut append);
    log.finish(append, Ok(()), FLUSH_US);
    let end = log.append(&mut records(&[b"B"]), 0);
    let mut append = log.begin(FLUSH_US + 1).unwrap();
    assert!(!append.flushes);
    write(&mut append);
    log.finish(append, Ok(()), FLUSH_US + 1);
    assert!(log.begin(FLUSH_US + 2).is_none());
    assert!(log.durable() < end && log.pending_bytes() == 0);
    assert_eq!(settle(&log, 2 * FLUSH_US), [Written::Done]);
    assert_eq!(log.durable(), end);
    log.append(&mut records(&[b"C"]), 0);
    log.want_flush();
    assert_eq!(settle(&log, 2 * FLUSH_US + 1), [Written::Done]);
    assert!(log.is_settled());
}

#[test]
fn what_is_in_the_file_may_be_told_unless_it_is_to_be_on_the_disk() {
    let files = Files::new();
    let log = opened(&files, FlushPolicy::No);
    log.append(&mut records(&[b"A"]), 0);
    assert_eq!(settle(&log, 1), [Written::Done]);
    let end = log.append(&mut records(&[b"B"]), 0);
    assert!(log.reached() < end);
    let mut append = log.begin(2).unwrap();
    assert!(append.at_once && log.reached() < end, "it is not in the file yet");
    write(&mut append);
    log.finish(append, Ok(()), 2);
    assert_eq!(log.reached(), end);
    log.configure(FlushPolicy::Always, false);
    assert!(log.reached() < end);
    let mut append = log.begin(3).unwrap();
    write(&mut append);
    log.note_written(&mut append, 3);
    assert!(log.reached() < end);
    log.finish(append, Ok(()), 4);
    assert_eq!((log.reached(), log.file_bytes()), (end, files.bytes("a").len() as u64));
}

#[test]
fn nobody_waits_for_a_flush_that_comes_each_second() {
    let files = Files::new();
    let log = opened(&files, FlushPolicy::EverySecond);
    log.append(&mut records(&[b"A"]), 0);
    let mut append = log.begin(FLUSH_US).unwrap();
    assert!(append.at_once && append.flushes);
    write(&mut append);
    log.note_written(&mut append, FLUSH_US);
    let end = log.append(&mut records(&[b"B"]), 0);
    assert!(log.begin(FLUSH_US).is_none() && log.reached() >= end);
    log.finish(append, Ok(()), FLUSH_US + 1);
    assert_eq!(settle(&log, FLUSH_US + 2), [Written::Done]);
    assert_eq!((log.reached(), log.file_bytes()), (end, files.bytes("a").len() as u64));
}

#[test]
fn a_core_does_not_write_itself_what_takes_long() {
    let files = Files::new();
    let log = opened(&files, FlushPolicy::No);
    let mut now_us = 0;
    let mut begin = |passed_us: u64, value: &[u8]| {
        now_us += passed_us;
        log.append(&mut records(&[value]), 0);
        let mut append = log.begin(now_us).unwrap();
        let at_once = append.at_once;
        write(&mut append);
        // Any write would have taken so long.
        append.took_us = if at_once { SLOW_WRITE_US + 1 } else { 0 };
        log.finish(append, Ok(()), now_us);
        assert_eq!(log.reached(), u64::MAX, "nobody waits for such a write");
        at_once
    };
    assert!(!begin(1, &vec![b'v'; AT_ONCE_MAX]));
    assert!(begin(1, b"v"));
    let mut slow_us = SLOW_US[0];
    for _ in 0..6 {
        assert!(!begin(1, b"v"));
        assert!(!begin(slow_us - 2, b"v"));
        assert!(begin(1, b"v"), "it is tried again after {slow_us} us");
        slow_us = SLOW_US[1].min(4 * slow_us);
    }
    assert_eq!(slow_us, SLOW_US[1]);
    assert!(begin(2 * slow_us, b"v"));
    assert!(!begin(SLOW_US[0] - 1, b"v"));
    assert!(begin(1, b"v"), "it had been quick for long");
}

#[test]
fn a_write_that_was_cut_short_goes_on_where_it_ended() {
    let files = Files::new();
    let log = opened(&files, FlushPolicy::EverySecond);
    log.append(&mut records(&[b"ABC"]), 0);
    log.set_fault(Fault::Write { bytes: 10, code: libc::ENOSPC });
    assert_eq!(settle(&log, 1), [Written::Failed]);
    assert_eq!(log.error(), Some(libc::ENOSPC));
    assert_eq!(files.bytes("a").len(), 10);
    log.append(&mut records(&[b"D"]), 0);
    assert!(log.begin(2).is_none(), "not so soon");
    settle(&log, 1 + RETRY_US);
    settle(&log, 1 + RETRY_US);
    assert!(!log.has_failed());
    let expected = [SELECT, b"*1\r\n$3\r\nABC\r\n*1\r\n$1\r\nD\r\n"].concat();
    assert_eq!(files.bytes("a"), expected);
    assert_eq!(log.file_bytes(), expected.len() as u64);
}

#[test]
fn a_flush_that_fails_leaves_its_mark_until_there_is_a_new_base() {
    let files = Files::new();
    let log = opened(&files, FlushPolicy::EverySecond);
    log.append(&mut records(&[b"A"]), 0);
    log.set_fault(Fault::Flush { code: libc::EIO });
    assert_eq!(settle(&log, FLUSH_US), [Written::Failed]);
    assert!(log.is_tainted() && log.has_failed());
    settle(&log, FLUSH_US + RETRY_US);
    assert!(log.is_tainted() && !log.has_failed());
    let (file, bytes) = files.open("b");
    log.open(file, bytes);
    log.append(&mut records(&[b"B"]), 0);
    settle(&log, FLUSH_US + RETRY_US);
    assert!(log.is_tainted(), "without a new base the first file still counts");
    log.note_base();
    assert!(!log.is_tainted());
    log.set_fault(Fault::Flush { code: libc::EIO });
    log.append(&mut records(&[b"C"]), 0);
    assert_eq!(settle(&log, 2 * FLUSH_US + RETRY_US), [Written::Failed]);
    log.note_base();
    assert!(log.is_tainted(), "that base does not cover what came after it");
}

#[test]
fn who_waits_for_the_disk_is_not_told_of_what_is_not_there() {
    let files = Files::new();
    let log = opened(&files, FlushPolicy::Always);
    log.append(&mut records(&[b"A"]), 0);
    log.set_fault(Fault::Flush { code: libc::EIO });
    assert_eq!(settle(&log, 1), [Written::Fatal]);
    assert_eq!(log.durable(), 0);
}

#[test]
fn what_comes_after_the_cut_is_in_the_next_file() {
    let files = Files::new();
    let log = opened(&files, FlushPolicy::No);
    log.append(&mut records(&[b"A"]), 0);
    let (file, bytes) = files.open("b");
    log.open(file, bytes);
    let end = log.append(&mut records(&[b"B"]), 0);
    let outcomes = settle(&log, 1);
    assert_eq!(outcomes, [Written::Done, Written::Done]);
    assert_eq!(files.bytes("a"), [SELECT, b"*1\r\n$1\r\nA\r\n"].concat());
    assert_eq!(files.bytes("b"), [SELECT, b"*1\r\n$1\r\nB\r\n"].concat());
    assert!(log.durable() < end, "only the first has been flushed");
    assert!(log.close());
    assert!(log.is_settled());
}

#[test]
fn the_time_is_annotated_once_a_second() {
    let files = Files::new();
    let log = opened(&files, FlushPolicy::Always);
    log.configure(FlushPolicy::Always, true);
    log.append(&mut records(&[b"A"]), 7);
    log.append(&mut records(&[b"B"]), 7);
    log.append(&mut records(&[b"C"]), 8);
    settle(&log, 1);
    let text = String::from_utf8(files.bytes("a")).unwrap();
    assert_eq!(text.matches('#').count(), 2);
    assert!(text.starts_with("#TS:7\r\n") && text.contains("B\r\n#TS:8\r\n"));
}
