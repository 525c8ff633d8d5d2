//! Whether the machine, or the control group that this process is in, has memory left, looked at now and then: a command
//! that is killed for want of it says nothing of that itself.

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::cgroup::own_folder;
use crate::handle::{MemoryReport, UsedBy};
use crate::process_files::all_pids;
use crate::watched_reader::{Lost, WatchedReader};

/// How often to see how much there is.
const GLANCE: Duration = Duration::from_millis(500);
/// How often to count whom the kernel killed, and at most to look who has what there is.
const LOOK: Duration = Duration::from_secs(2);
/// The kernel killed a command for it if it killed anybody in this time before: a large process takes a while to be gone.
const RECENT: Duration = Duration::from_secs(10);
/// What was counted so long ago tells nothing of now.
const OUTDATED: Duration = Duration::from_secs(30);
/// How long this process is taken to stay in its control group.
const SETTLED: Duration = Duration::from_secs(60);
/// Below this part of all memory it is looked who has it,
const LOW: u64 = 10;
/// and below this one it is nearly full: there are services that kill somebody then, before the kernel does.
const NEARLY_FULL: u64 = 20;
/// How many of the largest processes are told.
pub const LARGEST: usize = 5;

#[derive(Default)]
pub struct MemoryWatch(Mutex<Seen>);

#[derive(Default)]
struct Seen {
    glanced: Option<Instant>,
    /// What was to be had then, and of how much, in bytes.
    available: Option<(u64, u64)>,
    looked: Option<Instant>,
    /// When the largest processes were looked at, and they.
    largest: Option<(Instant, Vec<UsedBy>)>,
    /// How many the kernel had killed, the oldest first.
    counts: VecDeque<(Instant, KillCounts)>,
    groups: Option<(Instant, Groups)>,
}

/// How often the kernel killed a process for want of memory, where it tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct KillCounts {
    machine: Option<u64>,
    /// In the control group of this process and below.
    group: Option<u64>,
}

/// Of the control groups (version 2) that this process is in.
#[derive(Clone, Default)]
struct Groups {
    own: Option<PathBuf>,
    /// Those that limit memory.
    limited: Vec<PathBuf>,
}

impl MemoryWatch {
    pub fn is_due(&self, now: Instant) -> bool {
        self.seen().glanced.is_none_or(|at| now - at >= GLANCE)
    }

    /// See how much there is, and what else is due. Processes in `hung` are not touched.
    pub fn look(&self, now: Instant, reader: &WatchedReader, hung: &[i32]) -> Result<(), Lost> {
        let mut seen = self.seen();
        seen.glanced = Some(now);
        let counts_are_due = seen.looked.is_none_or(|at| now - at >= LOOK);
        let groups = match &seen.groups {
            Some((at, groups)) if now - *at < SETTLED => groups.clone(),
            _ => seen.groups.insert((now, Groups::find())).1.clone(),
        };
        drop(seen);

        let available = available(&groups);
        let counts = counts_are_due.then(|| KillCounts::read(&groups));
        let mut seen = self.seen();
        seen.available = available;
        if let Some(counts) = counts {
            seen.looked = Some(now);
            seen.count(now, counts);
        }
        let is_low = is_less(available, LOW);
        if !is_low {
            seen.largest = None;
        }
        let largest_are_due = is_low && seen.largest.as_ref().is_none_or(|(at, _)| now - *at >= LOOK);
        drop(seen);

        if largest_are_due {
            let largest = largest(reader, hung)?;
            self.seen().largest = Some((now, largest));
        }
        Ok(())
    }

    /// What is known if a process that was killed just now was killed for want of memory; None if it seems not so.
    /// `certain`: only if the kernel says that it has killed somebody. Reads no file of a process.
    pub fn report(&self, now: Instant, certain: bool, tree: impl FnOnce() -> Vec<UsedBy>) -> Option<MemoryReport> {
        let groups = self.seen().groups.as_ref().map(|(_, groups)| groups.clone()).unwrap_or_default();
        let counts = KillCounts::read(&groups);
        let seen = self.seen();
        let before = seen.counts.iter().find(|(at, _)| now - *at < OUTDATED);
        let kernel_killed = before.is_some_and(|(_, before)| counts.rose_since(*before));
        let glanced = seen.glanced.filter(|at| now - *at < RECENT);
        let was_full = glanced.is_some() && is_less(seen.available, NEARLY_FULL);
        if !kernel_killed && (certain || !was_full) {
            return None;
        }
        let (looked, machine) = match &seen.largest {
            Some((at, largest)) => (Some(*at), largest.clone()),
            None => (glanced, Vec::new()),
        };
        let available = seen.available.filter(|_| glanced.is_some());
        drop(seen);
        Some(MemoryReport { kernel_killed, available, machine, tree: tree(), age: looked.map(|at| now - at) })
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seen {
    /// Keep one that is old enough to be from before whoever is just ending was killed.
    fn count(&mut self, now: Instant, counts: KillCounts) {
        self.counts.push_back((now, counts));
        while self.counts.get(1).is_some_and(|(at, _)| now - *at >= RECENT) {
            self.counts.pop_front();
        }
        self.counts.retain(|(at, _)| now - *at < OUTDATED);
    }
}

impl KillCounts {
    fn read(groups: &Groups) -> Self {
        let count = |path: &Path| value_of(&fs::read(path).ok()?, "oom_kill");
        Self {
            machine: count(Path::new("/proc/vmstat")),
            group: groups.own.as_ref().and_then(|own| count(&own.join("memory.events"))),
        }
    }

    fn rose_since(self, earlier: Self) -> bool {
        let rose =
            |now: Option<u64>, before: Option<u64>| matches!((now, before), (Some(now), Some(before)) if now > before);
        rose(self.machine, earlier.machine) || rose(self.group, earlier.group)
    }
}

impl Groups {
    fn find() -> Self {
        let read = |path| fs::read(path).unwrap_or_default();
        let own = own_folder(&read("/proc/self/cgroup"), &read("/proc/self/mountinfo"));
        // What is above the groups has no such file.
        let around = own.iter().flat_map(|own| own.ancestors());
        let limited = around.filter(|group| limit_of(group).is_some()).map(Path::to_owned).collect();
        Self { own, limited }
    }
}

/// How much memory is to be had, and of how much: of the machine, or of the group that has the smallest part left.
fn available(groups: &Groups) -> Option<(u64, u64)> {
    let machine = fs::read("/proc/meminfo").ok().and_then(|meminfo| available_in(&meminfo));
    let tighter = |one: &(u64, u64), other: &(u64, u64)| {
        (u128::from(one.0) * u128::from(other.1)).cmp(&(u128::from(other.0) * u128::from(one.1)))
    };
    groups.limited.iter().filter_map(|group| available_to(group)).chain(machine).min_by(tighter)
}

fn available_in(meminfo: &[u8]) -> Option<(u64, u64)> {
    let bytes = |key| Some(value_of(meminfo, key)? * 1024);
    Some((bytes("MemAvailable:")?, bytes("MemTotal:")?))
}

fn available_to(group: &Path) -> Option<(u64, u64)> {
    let limit = limit_of(group)?;
    let used: u64 = fs::read_to_string(group.join("memory.current")).ok()?.trim().parse().ok()?;
    let free = limit.saturating_sub(used);
    if !is_less(Some((free, limit)), LOW) {
        return Some((free, limit));
    }
    // Asking for it costs more. What is kept of files is given up before anybody is killed.
    let stat = fs::read(group.join("memory.stat")).ok()?;
    let files = ["inactive_file", "active_file"].into_iter().filter_map(|key| value_of(&stat, key)).sum::<u64>();
    Some(((free + files).min(limit), limit))
}

fn limit_of(group: &Path) -> Option<u64> {
    fs::read_to_string(group.join("memory.max")).ok()?.trim().parse().ok()
}

fn is_less(available: Option<(u64, u64)>, part: u64) -> bool {
    available.is_some_and(|(available, total)| available < total / part)
}

/// The number that follows a key at the beginning of a line.
fn value_of(file: &[u8], key: &str) -> Option<u64> {
    let value =
        file.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(key.as_bytes())?.strip_prefix(b" "))?;
    std::str::from_utf8(value).ok()?.split_ascii_whitespace().next()?.parse().ok()
}

fn largest(reader: &WatchedReader, hung: &[i32]) -> Result<Vec<UsedBy>, Lost> {
    let mut processes = Vec::new();
    for pid in all_pids().unwrap_or_default() {
        if !hung.contains(&pid)
            && let Some(stat) = reader.stat(pid)?
        {
            processes.push(UsedBy { pid, name: stat.name, memory: stat.resident });
        }
    }
    Ok(UsedBy::largest(processes.into_iter(), LARGEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMINFO: &[u8] = b"MemTotal:       1000 kB\nMemFree:           1 kB\nMemAvailable:     90 kB\n";

    #[test]
    fn what_the_kernel_tells_of_memory_is_read() {
        assert_eq!(available_in(MEMINFO), Some((90 * 1024, 1000 * 1024)));
        assert_eq!(available_in(b"MemTotal: 1000 kB\n"), None);
        assert_eq!(value_of(b"oom 9\noom_kill 3\noom_group_kill 4\n", "oom_kill"), Some(3));
        assert_eq!(value_of(b"oom_kill_x 9\n", "oom_kill"), None);
        assert!(is_less(available_in(MEMINFO), LOW) && !is_less(available_in(MEMINFO), NEARLY_FULL));
        assert!(!is_less(None, LOW));
    }

    #[test]
    fn either_count_tells_of_a_death_and_one_that_is_missing_of_none() {
        let counts = |machine, group| KillCounts { machine, group };
        assert!(counts(Some(2), Some(5)).rose_since(counts(Some(1), Some(5))));
        assert!(counts(None, Some(6)).rose_since(counts(None, Some(5))));
        assert!(!counts(Some(1), Some(5)).rose_since(counts(Some(1), Some(5))));
        assert!(!counts(Some(1), None).rose_since(counts(None, None)));
    }

    #[test]
    fn what_is_compared_with_is_from_before_the_death_but_not_from_long_ago() {
        let mut seen = Seen::default();
        let began = Instant::now();
        for seconds in (0..40).step_by(2) {
            seen.count(began + Duration::from_secs(seconds), KillCounts::default());
        }
        let oldest = seen.counts.front().map(|(at, _)| *at - began);
        assert_eq!(oldest, Some(Duration::from_secs(28)));
        seen.count(began + Duration::from_secs(1000), KillCounts::default());
        assert_eq!(seen.counts.len(), 1);
    }

    #[test]
    fn a_control_group_with_little_left_counts_but_not_what_it_keeps_of_files() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name, text| fs::write(folder.path().join(name), text).unwrap();
        write("memory.max", "1000\n");
        write("memory.current", "970\n");
        write("memory.stat", "anon 5\ninactive_file 300\nactive_file 100\n");
        assert_eq!(available_to(folder.path()), Some((430, 1000)));
        write("memory.stat", "anon 970\n");
        assert_eq!(available_to(folder.path()), Some((30, 1000)));
        write("memory.max", "max\n");
        assert_eq!(available_to(folder.path()), None);
    }

    #[test]
    fn this_machine_is_not_full() {
        let watch = MemoryWatch::default();
        let reader = WatchedReader::of_this_thread();
        assert!(watch.look(Instant::now(), &reader, &[]).is_ok());
        assert_eq!(watch.report(Instant::now(), true, Vec::new), None);
        assert!(!watch.is_due(Instant::now()));
        assert!(!largest(&reader, &[]).ok().unwrap().is_empty());
    }
}
