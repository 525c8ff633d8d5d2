//! What /proc tells of one process, read by a thread that may hang in it.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::fs::{Mode, OFlags, open};
use rustix::io::{Errno, read};
use rustix::param::page_size;

use crate::call_watch::CallWatch;

/// Linux's unit of processor time in /proc, USER_HZ.
const TICK: Duration = Duration::from_millis(10);
/// Linux's flag for a process that has not executed a program yet (PF_FORKNOEXEC).
const NOT_EXECUTED: u32 = 0x40;
/// The room for what is read at once: more than any of these files has, but for a list of many children.
const PIECE: usize = 4096;
/// kcmp(2): whether two processes have the same memory.
const KCMP_VM: i32 = 1;

/// The thread that reads was left behind in a call, and another has taken over.
pub struct Lost;

/// One thread's way of reading files of /proc, any of which may hang for as long as its process does.
pub struct Reader {
    pub watch: Arc<CallWatch>,
    /// The process whose file is being read, or was last.
    pub process: AtomicI32,
    /// The process in whose file it was left behind; 0 if it was not.
    pub left_in: AtomicI32,
}

impl Reader {
    pub fn of_this_thread() -> Arc<Self> {
        Arc::new(Self { watch: CallWatch::of_this_thread(), process: AtomicI32::new(0), left_in: AtomicI32::new(0) })
    }

    fn during<T>(&self, pid: i32, call: impl FnOnce() -> T) -> Result<T, Lost> {
        self.process.store(pid, Ordering::Relaxed);
        let returned = self.watch.during(call);
        if self.left_in.load(Ordering::Acquire) == 0 { Ok(returned) } else { Err(Lost) }
    }

    /// Empty if the file may not be read or there is none.
    fn read(&self, pid: i32, name: &str) -> Result<Vec<u8>, Lost> {
        let path = format!("/proc/{pid}/{name}");
        self.during(pid, || read_whole(&path).unwrap_or_default())
    }

    /// None if it is gone.
    pub fn stat(&self, pid: i32) -> Result<Option<Stat>, Lost> {
        Ok(Stat::parse(&self.read(pid, "stat")?))
    }

    pub fn status(&self, pid: i32) -> Result<Status, Lost> {
        let status = self.read(pid, "status")?;
        Ok(Status { peak: bytes_in(&status, "VmHWM:"), anonymous: bytes_in(&status, "RssAnon:").unwrap_or(0) })
    }

    /// None where it may not be read.
    pub fn weight(&self, pid: i32) -> Result<Option<Weight>, Lost> {
        let rollup = self.read(pid, "smaps_rollup")?;
        let figure = |key| bytes_in(&rollup, key);
        Ok(figure("Pss:").zip(figure("Anonymous:")).map(|(memory, anonymous)| Weight { memory, anonymous }))
    }

    pub fn children(&self, pid: i32, threads: usize) -> Result<Vec<i32>, Lost> {
        if threads == 1 {
            return self.children_of_thread(pid, pid);
        }
        let threads: Vec<i32> = self.during(pid, || {
            let entries = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
            entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
        })?;
        let mut children = Vec::new();
        for thread in threads {
            children.append(&mut self.children_of_thread(pid, thread)?);
        }
        Ok(children)
    }

    fn children_of_thread(&self, pid: i32, thread: i32) -> Result<Vec<i32>, Lost> {
        let list = self.read(pid, &format!("task/{thread}/children"))?;
        Ok(String::from_utf8_lossy(&list).split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).collect())
    }
}

/// From /proc/PID/stat: cheap, and never waits for the process's memory.
#[derive(Clone, PartialEq, Debug)]
pub struct Stat {
    pub name: String,
    pub parent: i32,
    /// In clock ticks since the machine started: tells it from a later process of the same number.
    pub started: u64,
    pub threads: usize,
    pub has_executed: bool,
    /// How often it touched memory that was not there: it cannot have grown without.
    pub faults: u64,
    /// Resident memory, in bytes.
    pub resident: u64,
    /// Of itself and those that it waited for.
    pub cpu_user: Duration,
    pub cpu_system: Duration,
}

impl Stat {
    fn parse(stat: &[u8]) -> Option<Self> {
        // The name stands in parentheses and may hold any character; the rest is what proc(5) lists from field 3 on.
        let (begin, end) = (memchr::memchr(b'(', stat)? + 1, memchr::memrchr(b')', stat)?);
        let rest = std::str::from_utf8(&stat[end + 1..]).ok()?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        let number = |place: usize| fields.get(place - 3)?.parse::<u64>().ok();
        let time = |own: usize, waited_for: usize| {
            let ticks = number(own)? + number(waited_for)?;
            Some(TICK * u32::try_from(ticks).unwrap_or(u32::MAX))
        };
        Some(Self {
            name: String::from_utf8_lossy(stat.get(begin..end)?).into_owned(),
            parent: i32::try_from(number(4)?).ok()?,
            started: number(22)?,
            threads: usize::try_from(number(20)?).ok()?,
            has_executed: number(9)? as u32 & NOT_EXECUTED == 0,
            faults: number(10)? + number(12)?,
            resident: number(24)? * page_size() as u64,
            cpu_user: time(14, 16)?,
            cpu_system: time(15, 17)?,
        })
    }

    /// Whether its memory is as it was.
    pub fn has_memory_of(&self, earlier: &Self) -> bool {
        (self.started, self.faults, self.resident) == (earlier.started, earlier.faults, earlier.resident)
    }
}

/// From /proc/PID/status, in bytes.
pub struct Status {
    /// The most that was resident so far.
    pub peak: Option<u64>,
    /// Resident memory that is no file's.
    pub anonymous: u64,
}

/// Like `fs::read`, which asks for the size that such a file does not have, and reads a small piece first.
fn read_whole(path: &str) -> Result<Vec<u8>, Errno> {
    let file = open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let mut content = Vec::with_capacity(PIECE);
    while read(&file, spare_capacity(&mut content))? > 0 {
        content.reserve(PIECE);
    }
    Ok(content)
}

/// From /proc/PID/smaps_rollup, in bytes.
pub struct Weight {
    /// The proportional set size: what it shares with others counts in part.
    pub memory: u64,
    pub anonymous: u64,
}

fn bytes_in(file: &[u8], key: &str) -> Option<u64> {
    let file = String::from_utf8_lossy(file);
    let line = file.lines().find_map(|line| line.strip_prefix(key))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}

/// Whether two processes have one memory, as after vfork(2) until the child executes a program.
pub fn share_memory(one: i32, other: i32) -> bool {
    // SAFETY: the call takes numbers alone.
    unsafe { libc::syscall(libc::SYS_kcmp, one, other, KCMP_VM, 0, 0) == 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_read_whatever_its_name() {
        let stat = b"7 (a) (b) R) S 3 7 7 0 -1 4194368 100 9 20 9 5 6 7 8 20 0 2 0 900 4096 10 0 0";
        let stat = Stat::parse(stat).unwrap();
        assert_eq!((stat.name.as_str(), stat.parent, stat.started, stat.threads), ("a) (b) R", 3, 900, 2));
        assert_eq!((stat.faults, stat.resident), (120, 10 * page_size() as u64));
        assert_eq!((stat.cpu_user, stat.cpu_system), (TICK * 12, TICK * 14));
        assert!(!stat.has_executed);
    }

    #[test]
    fn what_is_no_process_is_none() {
        for stat in [&b""[..], b"7 (a", b"7 (a) S 3", b")("] {
            assert_eq!(Stat::parse(stat), None);
        }
    }

    #[test]
    fn this_process_has_its_own_memory_and_nobody_elses() {
        let reader = Reader::of_this_thread();
        let own = std::process::id() as i32;
        let stat = reader.stat(own).ok().flatten().unwrap();
        let weight = reader.weight(own).ok().flatten().unwrap();
        assert!(weight.anonymous > 0 && weight.anonymous <= weight.memory && weight.memory <= 2 * stat.resident);
        assert!(share_memory(own, own));
        assert!(!share_memory(own, 1));
    }
}
