//! See `qemu_tests::readers::desired_state`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    qemu_tests::readers::desired_state(bytes);
});
