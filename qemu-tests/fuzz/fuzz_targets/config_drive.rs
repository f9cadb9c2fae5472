//! See `qemu_tests::readers::config_drive`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    qemu_tests::readers::config_drive(bytes);
});
