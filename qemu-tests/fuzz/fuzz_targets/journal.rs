//! See `qemu_tests::readers::journal`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    qemu_tests::readers::journal(bytes);
});
