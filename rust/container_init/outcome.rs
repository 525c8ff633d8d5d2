//! What the host reads when the container has ended.

use core::ffi::{CStr, c_int};

use crate::kernel;

#[derive(Clone, Copy)]
pub enum Kind {
    Exited = 1,
    Signalled,
    /// There is no such program; with the number of the error.
    NoProgram,
    /// The same for any other reason.
    NotStarted,
}

/// The fields that are written, in this order, each as eight bytes of this machine's order.
#[repr(C)]
struct Record {
    /// 0 until the command has ended.
    kind: i64,
    /// The exit code, signal or number of an error.
    number: i64,
    ended_by: i64,
    /// How many processes of the container the kernel killed for want of memory.
    killed_for_memory: i64,
    user_microseconds: i64,
    system_microseconds: i64,
    /// The peak of the largest process, in KiB.
    largest: i64,
}

/// Who asked for the end of the command before it came to it by itself.
#[derive(Clone, Copy)]
pub enum EndedBy {
    Nobody,
    /// The host, or somebody by the engine.
    Outside,
    /// A process of the container: the command, or what it started.
    Inside,
}

pub struct Outcome {
    file: c_int,
    pub ended_by: EndedBy,
    killed_before: i64,
}

impl Outcome {
    /// Tell that this process runs.
    pub fn begun(file: c_int) -> Self {
        let outcome = Self { file, ended_by: EndedBy::Nobody, killed_before: killed_for_memory() };
        outcome.write(0, 0);
        outcome
    }

    pub fn finish(&self, kind: Kind, number: i64) {
        self.write(kind as i64, number);
    }

    fn write(&self, kind: i64, number: i64) {
        let [user_microseconds, system_microseconds, largest] = kernel::usage_of_children();
        let record = Record {
            kind,
            number,
            ended_by: self.ended_by as i64,
            killed_for_memory: killed_for_memory() - self.killed_before,
            user_microseconds,
            system_microseconds,
            largest,
        };
        kernel::write_at_start(self.file, (&raw const record).cast(), size_of::<Record>());
    }
}

/// The files of version 2 and 1 of control groups, as a container sees its own.
const COUNTERS: [&CStr; 2] = [c"/sys/fs/cgroup/memory.events", c"/sys/fs/cgroup/memory/memory.oom_control"];
const NAME: &[u8] = b"oom_kill ";

fn killed_for_memory() -> i64 {
    let mut buffer = [0_u8; 512];
    for counter in COUNTERS {
        for line in kernel::read_file(counter, &mut buffer).split(|byte| *byte == b'\n') {
            if let Some(digits) = line.strip_prefix(NAME) {
                return digits.iter().fold(0, |sum, digit| sum * 10 + i64::from(digit.wrapping_sub(b'0')));
            }
        }
    }
    0
}
