//! See `qemu_tests::readers::modules_index`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    qemu_tests::readers::modules_index(bytes);
});
