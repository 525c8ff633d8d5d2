//! `spawner COUNT AT_ONCE`: the limit. Starts /bin/true with two pipes, so many at a time, reads both to their end and
//! waits for it. Prints commands per second and its own processor time.

use std::collections::HashMap;
use std::time::Instant;

fn main() {
    let (count, at_once): (usize, usize) = (tailrace_benches::argument(1), tailrace_benches::argument(2));
    let program = [c"/bin/true".to_owned()];
    let mut running = HashMap::new();
    let mut memory = [0u8; 4096];
    let started = Instant::now();
    for number in 0..count + at_once {
        if number >= at_once && !running.is_empty() {
            // SAFETY: only processes of ours are waited for, and their pipes read and closed.
            unsafe {
                let pid = libc::waitpid(-1, std::ptr::null_mut(), 0);
                for end in running.remove(&pid).unwrap_or([-1; 2]) {
                    while libc::read(end, memory.as_mut_ptr().cast(), memory.len()) > 0 {}
                    libc::close(end);
                }
            }
        }
        if number < count {
            let ([stdout_end, stdout], [stderr_end, stderr]) = (tailrace_benches::pipe(), tailrace_benches::pipe());
            let pid = tailrace_benches::spawn(&program, stdout, Some(stderr));
            running.insert(pid, [stdout_end, stderr_end]);
        }
    }
    assert!(running.is_empty());
    tailrace_benches::report(count as f64, started);
}
