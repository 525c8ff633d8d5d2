//! `progress RATE SECONDS`: writes RATE lines of a renderer's progress a second to standard output, one at a time.

use std::io::Write;
use std::thread::sleep;
use std::time::{Duration, Instant};

fn main() -> std::io::Result<()> {
    let rate: u32 = tailrace_benches::argument(1);
    let seconds: u32 = tailrace_benches::argument(2);
    let mut stdout = std::io::stdout().lock();
    let began = Instant::now();
    for number in 0..rate * seconds {
        let due = Duration::from_secs(1) * number / rate;
        sleep(due.saturating_sub(began.elapsed()));
        let (frame, sample) = (number / 128 + 1, number % 128 + 1);
        writeln!(stdout, "Fra:{frame} Mem:49.06M (Peak 49.60M) | Time:00:27.91 | Sample {sample}/128")?;
    }
    Ok(())
}
