//! See `qemu_tests::readers::symvers`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    qemu_tests::readers::symvers(bytes);
});
