//! What /proc tells of one process. Reading any of it may hang; see `reading_threads` and `watched_reader`.

use std::borrow::Cow;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::fs::{Mode, OFlags, open};
use rustix::io::{Errno, read, retry_on_intr};
use rustix::param::page_size;

use crate::handle::{ProcessNote, Usage};

/// The variable that holds the marks of the commands a process descends from, separated by colons.
pub const MARK_VARIABLE: &str = "TAILRACE_COMMAND";

/// The room for what is read at once: more than most of these files have.
const PIECE: usize = 4096;
/// Linux's unit of processor time in /proc, USER_HZ.
const TICK: Duration = Duration::from_millis(10);
/// Linux's flag for a process that has not executed a program yet (PF_FORKNOEXEC).
const NOT_EXECUTED: u32 = 0x40;
/// Linux's flag for a thread of the kernel's own (PF_KTHREAD).
const KERNEL_THREAD: u32 = 0x0020_0000;
/// How often to ask for the environment of a program that is just being loaded, which has none yet.
const LOADING_CHECK: Duration = Duration::from_micros(100);
/// How long that may take.
const LOADING: Duration = Duration::from_millis(5);

/// Like `fs::read`, which asks for the size that such a file does not have, and reads a small piece first.
pub fn read_whole(path: &str) -> io::Result<Vec<u8>> {
    let file = retry_on_intr(|| open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()))?;
    let mut content = Vec::with_capacity(PIECE);
    while retry_on_intr(|| read(&file, spare_capacity(&mut content)))? > 0 {
        content.reserve(PIECE);
    }
    Ok(content)
}

/// The line `/proc/PID/stat`: cheap to read, and never waits for the process's memory. Its numbers are those of the
/// process namespace that /proc shows.
#[derive(Clone, PartialEq, Debug)]
pub struct Stat {
    pub pid: i32,
    pub name: String,
    /// In clock ticks since the machine started: tells it from a later process of the same number.
    pub started: u64,
    pub parent: i32,
    pub group: i32,
    pub session: i32,
    pub threads: usize,
    /// A zombie: signals still reach it, and nothing happens.
    pub ended: bool,
    pub has_executed: bool,
    /// Its program may just be being loaded, so that it has no environment yet.
    pub may_be_loading: bool,
    /// How often it touched memory that was not there: it cannot have grown without.
    pub faults: u64,
    /// Resident memory, in bytes.
    pub resident: u64,
    /// Of itself and those that it waited for.
    pub cpu_user: Duration,
    pub cpu_system: Duration,
}

impl Stat {
    /// None if it is gone. An error says nothing about the process: there were no descriptors or no memory left.
    pub fn read(pid: i32) -> io::Result<Option<Self>> {
        match read_whole(&format!("/proc/{pid}/stat")) {
            Ok(stat) => Ok(Self::parse(pid, &stat)),
            Err(error) if is_shortage(&error) => Err(error),
            Err(_) => Ok(None),
        }
    }

    pub fn parse(pid: i32, stat: &[u8]) -> Option<Self> {
        // The name stands in parentheses and may hold any character; the rest is what proc(5) lists from field 3 on.
        let (begin, end) = (memchr::memchr(b'(', stat)? + 1, memchr::memrchr(b')', stat)?);
        let rest = std::str::from_utf8(&stat[end + 1..]).ok()?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        let field = |place: usize| fields.get(place - 3).copied();
        let number = |place: usize| field(place)?.parse::<u64>().ok();
        let process = |place: usize| field(place)?.parse::<i32>().ok();
        let time = |own: usize, waited_for: usize| {
            let ticks = number(own)? + number(waited_for)?;
            Some(TICK * u32::try_from(ticks).unwrap_or(u32::MAX))
        };
        let state = field(3)?;
        let flags = number(9)? as u32;
        let threads = usize::try_from(number(20)?).ok()?;
        // A first thread that ended while others run looks like a zombie.
        let ended = state == "X" || (state == "Z" && threads <= 1);
        Some(Self {
            pid,
            name: String::from_utf8_lossy(stat.get(begin..end)?).into_owned(),
            started: number(22)?,
            parent: process(4)?,
            group: process(5)?,
            session: process(6)?,
            threads,
            ended,
            has_executed: flags & NOT_EXECUTED == 0,
            // Field 51: the end of the environment in its memory.
            may_be_loading: !ended && flags & KERNEL_THREAD == 0 && field(51) == Some("0"),
            faults: number(10)? + number(12)?,
            resident: number(24)? * page_size() as u64,
            cpu_user: time(14, 16)?,
            cpu_system: time(15, 17)?,
        })
    }

    pub fn cpu(&self) -> Duration {
        self.cpu_user + self.cpu_system
    }

    /// Whether its memory is as it was.
    pub fn has_memory_of(&self, earlier: &Self) -> bool {
        (self.started, self.faults, self.resident) == (earlier.started, earlier.faults, earlier.resident)
    }

    /// The value of `MARK_VARIABLE` in its environment; empty without one.
    pub fn read_marks(&self) -> io::Result<Vec<u8>> {
        let mut waited = Duration::ZERO;
        let mut may_be_loading = self.may_be_loading;
        loop {
            let environ = match read_whole(&format!("/proc/{}/environ", self.pid)) {
                Err(error) if is_shortage(&error) => return Err(error),
                Err(_) => return Ok(Vec::new()),
                Ok(environ) => environ,
            };
            if !environ.is_empty() || !may_be_loading || waited >= LOADING {
                return Ok(marks_in(&environ));
            }
            std::thread::sleep(LOADING_CHECK);
            waited += LOADING_CHECK;
            may_be_loading = Self::read(self.pid)?.is_some_and(|stat| stat.may_be_loading);
        }
    }
}

fn marks_in(environ: &[u8]) -> Vec<u8> {
    let mut variables = environ.split(|byte| *byte == 0);
    let value = |variable: &[u8]| {
        let rest = variable.strip_prefix(MARK_VARIABLE.as_bytes())?;
        rest.strip_prefix(b"=").map(<[u8]>::to_vec)
    };
    variables.find_map(value).unwrap_or_default()
}

/// From /proc/PID/status, in bytes.
pub struct Status {
    /// The most that was resident so far.
    pub peak: Option<u64>,
    /// Resident memory that is no file's.
    pub anonymous: u64,
}

impl Status {
    pub fn parse(status: &[u8]) -> Self {
        Self { peak: bytes_of(status, "VmHWM:"), anonymous: bytes_of(status, "RssAnon:").unwrap_or(0) }
    }
}

/// From /proc/PID/smaps_rollup, in bytes.
pub struct Weight {
    /// The proportional set size: what it shares with others counts in part.
    pub memory: u64,
    pub anonymous: u64,
}

impl Weight {
    pub fn parse(rollup: &[u8]) -> Option<Self> {
        Some(Self { memory: bytes_of(rollup, "Pss:")?, anonymous: bytes_of(rollup, "Anonymous:")? })
    }
}

fn bytes_of(file: &[u8], key: &str) -> Option<u64> {
    let kilobytes: u64 = value_of(file, key)?.strip_suffix(" kB")?.parse().ok()?;
    Some(kilobytes * 1024)
}

fn value_of<'a>(file: &'a [u8], key: &str) -> Option<Cow<'a, str>> {
    let value = file.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(key.as_bytes()))?;
    Some(String::from_utf8_lossy(value.trim_ascii()))
}

/// The numbers of all processes but this one; reads no file of any.
pub fn all_pids() -> io::Result<Vec<i32>> {
    let own = fs::read_link("/proc/self")?;
    let mut pids = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        pids.extend(name.to_str().filter(|_| name != own).and_then(|name| name.parse::<i32>().ok()));
    }
    Ok(pids)
}

/// Whether reading failed for a reason that says nothing about what was to be read.
pub fn is_shortage(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM))
}

/// What is told of a process that cannot be ended, or not be looked at.
pub fn read_note(pid: i32) -> ProcessNote {
    let status = read_whole(&format!("/proc/{pid}/status")).unwrap_or_default();
    let state = value_of(&status, "State:").unwrap_or_default();
    let wait_channel = read_whole(&format!("/proc/{pid}/wchan")).unwrap_or_default();
    ProcessNote {
        pid,
        name: value_of(&status, "Name:").unwrap_or_default().into(),
        state: state.split(' ').next().unwrap_or_default().into(),
        wait_channel: if wait_channel == b"0" { String::new() } else { String::from_utf8_lossy(&wait_channel).into() },
    }
}

/// Add what this process uses now. What hangs, if anything, is the last part: what it has in memory of its own.
pub fn add_usage(pid: i32, add: impl Fn(&dyn Fn(&mut Usage))) {
    let Ok(Some(stat)) = Stat::read(pid) else { return };
    let status = Status::parse(&read_whole(&format!("/proc/{pid}/status")).unwrap_or_default());
    add(&|usage| {
        usage.cpu_user += stat.cpu_user;
        usage.cpu_system += stat.cpu_system;
        usage.max_rss = usage.max_rss.max(status.peak);
    });
    let rollup = read_whole(&format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    if let Some(weight) = Weight::parse(&rollup) {
        add(&|usage| *usage.tree_max_rss.get_or_insert(0) += weight.memory);
    }
}

/// How /proc numbers processes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Numbering {
    /// As the system calls of this process do.
    Ours,
    /// As a process namespace does that this one lies in, this many levels up.
    Outer(usize),
}

impl Numbering {
    /// `NotFound`: there is no /proc, or it shows processes that have nothing to do with this one.
    pub fn find() -> io::Result<Self> {
        let status = read_whole("/proc/self/status")?;
        // One number for each process namespace, from that of /proc to that of this process.
        let levels = value_of(&status, "NSpid:").map_or(1, |numbers| numbers.split_ascii_whitespace().count());
        Ok(if levels < 2 { Self::Ours } else { Self::Outer(levels - 1) })
    }

    /// The number by which this process can be signalled; None if it cannot.
    pub fn ours(self, pid: i32) -> Option<i32> {
        let Self::Outer(level) = self else { return Some(pid) };
        let status = read_whole(&format!("/proc/{pid}/status")).ok()?;
        value_of(&status, "NSpid:")?.split_ascii_whitespace().nth(level)?.parse().ok()
    }
}

/// The number that /proc has for the process of a descriptor; None if it is gone.
pub fn number_in_proc(pidfd: BorrowedFd<'_>) -> Option<i32> {
    let info = read_whole(&format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd())).ok()?;
    value_of(&info, "Pid:")?.parse().ok().filter(|pid| *pid > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_read_whatever_its_name() {
        let stat = b"7 (a) (b) R) S 3 7 7 0 -1 4194368 100 9 20 9 5 6 7 8 20 0 2 0 900 4096 10 0 0";
        let stat = Stat::parse(7, stat).unwrap();
        assert_eq!((stat.name.as_str(), stat.parent, stat.started, stat.threads), ("a) (b) R", 3, 900, 2));
        assert_eq!((stat.faults, stat.resident), (120, 10 * page_size() as u64));
        assert_eq!((stat.cpu_user, stat.cpu_system), (TICK * 12, TICK * 14));
        assert!(!stat.has_executed);
    }

    #[test]
    fn what_is_no_process_is_none() {
        for stat in [&b""[..], b"7 (a", b"7 (a) S 3", b")("] {
            assert_eq!(Stat::parse(7, stat), None);
        }
    }
}
