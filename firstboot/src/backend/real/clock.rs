//! The node's clock.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::backend::Clock;

/// `CLOCK_REALTIME`. Early in a boot it may be wrong: it is reported, and nothing is decided by it.
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> u64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
    }
}
