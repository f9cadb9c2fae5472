//! See `qemu_tests::readers::control`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    qemu_tests::readers::control(bytes);
});
