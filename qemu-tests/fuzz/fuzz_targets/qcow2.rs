//! See `qemu_tests::readers::qcow2`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    qemu_tests::readers::qcow2(bytes);
});
