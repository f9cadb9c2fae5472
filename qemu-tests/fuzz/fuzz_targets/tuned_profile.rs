//! See `qemu_tests::readers::tuned_profile`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    qemu_tests::readers::tuned_profile(bytes);
});
