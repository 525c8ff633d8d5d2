//! `writer BYTES`: writes lines of 100 bytes to standard output as fast as it is read.

const BLOCK: usize = 64 << 10;

fn main() {
    let mut left: usize = tailrace_benches::argument(1);
    let block: Vec<u8> = (0..BLOCK + 100).map(|at| if at % 100 == 99 { b'\n' } else { b'a' + (at % 26) as u8 }).collect();
    let mut written = 0;
    while left > 0 {
        // Each block goes on where the last one was within its line.
        let piece = &block[written % 100..][..BLOCK.min(left)];
        // SAFETY: the bytes are there.
        let count = unsafe { libc::write(1, piece.as_ptr().cast(), piece.len()) };
        let Ok(count) = usize::try_from(count) else { std::process::exit(1) };
        written += count;
        left -= count;
    }
}
