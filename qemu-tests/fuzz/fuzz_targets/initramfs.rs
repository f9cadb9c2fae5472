//! See `qemu_tests::readers::initramfs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    qemu_tests::readers::initramfs(bytes);
});
