//! `reader WRITER BYTES`: the limit. Runs the writer, reads its pipe, grown to 1 MiB, in pieces of up to 1 MiB, and
//! throws them away. Prints bytes per second and its own processor time.

use std::ffi::CString;
use std::time::Instant;

const PIECE: usize = 1 << 20;

fn main() {
    let writer = std::env::args().nth(1).unwrap_or_default();
    let bytes: u64 = tailrace_benches::argument(2);
    let arguments = [writer, bytes.to_string()].map(|argument| CString::new(argument).unwrap_or_default());
    let mut memory = vec![0u8; PIECE];
    let started = Instant::now();
    let [end, stdout] = tailrace_benches::pipe();
    let pid = tailrace_benches::spawn(&arguments, stdout, None);
    let mut total = 0;
    // SAFETY: reads go into memory of that size; the descriptor and the process are ours.
    unsafe {
        libc::fcntl(end, libc::F_SETPIPE_SZ, PIECE);
        loop {
            let count = libc::read(end, memory.as_mut_ptr().cast(), PIECE);
            if count <= 0 {
                break;
            }
            total += count as u64;
        }
        libc::waitpid(pid, std::ptr::null_mut(), 0);
    }
    assert_eq!(total, bytes, "the writer failed");
    tailrace_benches::report(total as f64, started);
}
