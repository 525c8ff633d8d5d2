//! `stamper SECONDS PACE`: every PACE microseconds writes the time (CLOCK_MONOTONIC, nanoseconds) as a line.

use std::time::{Duration, Instant};

fn main() {
    let lasts = Duration::from_secs_f64(tailrace_benches::argument(1));
    let pace = Duration::from_micros(tailrace_benches::argument(2));
    let started = Instant::now();
    while started.elapsed() < lasts {
        // SAFETY: there is room for the time; the line is written from live memory.
        unsafe {
            let mut now: libc::timespec = std::mem::zeroed();
            libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut now);
            let line = format!("{}\n", now.tv_sec * 1_000_000_000 + now.tv_nsec);
            if libc::write(1, line.as_ptr().cast(), line.len()) < 0 {
                return;
            }
        }
        std::thread::sleep(pace);
    }
}
