//! Must fail: shows that the fuzzer is guided by coverage and that a finding is reported.
//!
//! By chance alone, six given bytes in a row turn up once in 10^14 inputs.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let mut expected = b"kvasir".iter();
    for (byte, wanted) in data.iter().zip(&mut expected) {
        if byte != wanted {
            return;
        }
    }
    assert!(expected.next().is_some(), "the canary sings");
});
