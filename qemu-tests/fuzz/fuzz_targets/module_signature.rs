//! See `qemu_tests::readers::module_signature`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    qemu_tests::readers::module_signature(bytes);
});
