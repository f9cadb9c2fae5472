//! See `qemu_tests::readers::kernel_module`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    qemu_tests::readers::kernel_module(bytes);
});
