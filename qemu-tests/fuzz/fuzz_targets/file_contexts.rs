//! See `qemu_tests::readers::file_contexts`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    qemu_tests::readers::file_contexts(bytes);
});
