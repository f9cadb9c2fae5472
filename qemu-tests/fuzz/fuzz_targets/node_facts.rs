//! See `qemu_tests::readers::node_facts`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    qemu_tests::readers::node_facts(bytes);
});
