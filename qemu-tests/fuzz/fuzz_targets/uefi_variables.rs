//! See `qemu_tests::readers::uefi_variables`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    qemu_tests::readers::uefi_variables(bytes);
});
