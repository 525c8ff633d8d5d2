//! What /proc tells of one process. Reading any of it may hang; see `reading_threads`.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

use rustix::io::Errno;

use crate::handle::{ProcessNote, Usage};

/// The variable that holds the marks of the commands a process descends from, separated by colons.
pub const MARK_VARIABLE: &str = "TAILRACE_COMMAND";

/// Linux's flag for a thread of the kernel's own (PF_KTHREAD).
const KERNEL_THREAD: u32 = 0x0020_0000;
/// How often to ask for the environment of a program that is just being loaded, which has none yet.
const LOADING_CHECK: Duration = Duration::from_micros(100);
/// How long that may take.
const LOADING: Duration = Duration::from_millis(5);

/// The line `/proc/PID/stat`. Its numbers are those of the process namespace that /proc shows.
#[derive(Clone)]
pub struct Stat {
    pub pid: i32,
    /// In clock ticks since the machine started: tells it from a later process of the same number.
    pub started: u64,
    pub parent: i32,
    pub group: i32,
    pub session: i32,
    /// A zombie: signals still reach it, and nothing happens.
    pub ended: bool,
    /// Its program may just be being loaded, so that it has no environment yet.
    pub may_be_loading: bool,
    /// In clock ticks: of itself and of those it has waited for.
    user: u64,
    system: u64,
}

impl Stat {
    /// None if it is gone. An error says nothing about the process: there were no descriptors or no memory left.
    pub fn read(pid: i32) -> io::Result<Option<Self>> {
        match fs::read(format!("/proc/{pid}/stat")) {
            Ok(stat) => Ok(Self::parse(pid, &stat)),
            Err(error) if is_shortage(&error) => Err(error),
            Err(_) => Ok(None),
        }
    }

    fn parse(pid: i32, stat: &[u8]) -> Option<Self> {
        // The name stands in parentheses and may hold any character; the rest is what proc(5) lists from field 3 on.
        let rest = std::str::from_utf8(&stat[memchr::memrchr(b')', stat)? + 1..]).ok()?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        let field = |number: usize| fields.get(number - 3).copied();
        let number = |place: usize| field(place)?.parse::<i32>().ok();
        let ticks = |place: usize| field(place)?.parse::<u64>().ok();
        let state = field(3)?;
        let flags: u32 = field(9)?.parse().ok()?;
        // A first thread that ended while others run looks like a zombie.
        let ended = state == "X" || (state == "Z" && number(20)? <= 1);
        Some(Self {
            pid,
            started: ticks(22)?,
            parent: number(4)?,
            group: number(5)?,
            session: number(6)?,
            ended,
            // Field 51: the end of the environment in its memory.
            may_be_loading: !ended && flags & KERNEL_THREAD == 0 && field(51) == Some("0"),
            user: ticks(14)? + ticks(16)?,
            system: ticks(15)? + ticks(17)?,
        })
    }

    /// The value of `MARK_VARIABLE` in its environment; empty without one.
    pub fn read_marks(&self) -> io::Result<Vec<u8>> {
        let mut waited = Duration::ZERO;
        let mut may_be_loading = self.may_be_loading;
        loop {
            let environ = match fs::read(format!("/proc/{}/environ", self.pid)) {
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
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let state = value_of(&status, "State:").unwrap_or_default();
    let wait_channel = fs::read_to_string(format!("/proc/{pid}/wchan")).unwrap_or_default();
    ProcessNote {
        pid,
        name: value_of(&status, "Name:").unwrap_or_default().into(),
        state: state.split(' ').next().unwrap_or_default().into(),
        wait_channel: if wait_channel == "0" { String::new() } else { wait_channel },
    }
}

/// Add what this process uses now. What hangs, if anything, is the last part: what it has in memory of its own.
pub fn add_usage(pid: i32, add: impl Fn(&dyn Fn(&mut Usage))) {
    let Ok(Some(stat)) = Stat::read(pid) else { return };
    let ticks_per_second = rustix::param::clock_ticks_per_second().max(1);
    let duration = |ticks: u64| Duration::from_micros(ticks * 1_000_000 / ticks_per_second);
    let peak = peak_resident_memory(pid);
    add(&|usage| {
        usage.cpu_user += duration(stat.user);
        usage.cpu_system += duration(stat.system);
        usage.max_rss = usage.max_rss.max(peak);
    });
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    if let Some(size) = size_in(&rollup, "Pss:") {
        add(&|usage| *usage.tree_max_rss.get_or_insert(0) += size);
    }
}

/// The peak resident memory of a process so far, in bytes.
pub fn peak_resident_memory(pid: i32) -> Option<u64> {
    size_in(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?, "VmHWM:")
}

fn size_in(lines: &str, name: &str) -> Option<u64> {
    let kilobytes: u64 = value_of(lines, name)?.strip_suffix(" kB")?.parse().ok()?;
    Some(kilobytes * 1024)
}

fn value_of<'a>(lines: &'a str, name: &str) -> Option<&'a str> {
    lines.lines().find_map(|line| line.strip_prefix(name)).map(str::trim)
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
        let status = fs::read_to_string("/proc/self/status")?;
        // One number for each process namespace, from that of /proc to that of this process.
        let levels = value_of(&status, "NSpid:").map_or(1, |numbers| numbers.split_ascii_whitespace().count());
        Ok(if levels < 2 { Self::Ours } else { Self::Outer(levels - 1) })
    }

    /// The number by which this process can be signalled; None if it cannot.
    pub fn ours(self, pid: i32) -> Option<i32> {
        let Self::Outer(level) = self else { return Some(pid) };
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        value_of(&status, "NSpid:")?.split_ascii_whitespace().nth(level)?.parse().ok()
    }
}

/// The number that /proc has for the process of a descriptor; None if it is gone.
pub fn number_in_proc(pidfd: BorrowedFd<'_>) -> Option<i32> {
    let mut info = String::new();
    File::open(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd())).ok()?.read_to_string(&mut info).ok()?;
    value_of(&info, "Pid:")?.parse().ok().filter(|pid| *pid > 0)
}
