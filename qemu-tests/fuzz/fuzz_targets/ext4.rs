//! See `qemu_tests::readers::ext4`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    qemu_tests::readers::ext4(bytes);
});
