//! See `qemu_tests::readers::image_layer`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    qemu_tests::readers::image_layer(bytes);
});
