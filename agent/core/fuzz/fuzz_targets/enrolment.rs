//! The body is in the library, for the replay by plain tests too.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    glovebox_fuzz::enrolment(data);
});
