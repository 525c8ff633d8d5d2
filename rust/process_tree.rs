//! Finding everything that a command has started.
//!
//! A descendant shares the command's process group or session, descends from it by parentage, or carries the
//! command's mark in its environment: a daemon that called setsid and lost its parent is found by the mark alone.
//! What empties its environment as well (`env -i setsid`) is out of reach.

use std::cell::OnceCell;
use std::collections::HashSet;
use std::fs;

/// The variable that holds the marks of the commands a process descends from, separated by colons.
pub const MARK_VARIABLE: &str = "TAILRACE_COMMAND";

struct Process {
    pid: i32,
    /// In clock ticks since the machine started: tells it from a later process of the same number.
    started: u64,
    parent: i32,
    group: i32,
    session: i32,
    /// The value of `MARK_VARIABLE` in its environment, once somebody asked; empty without one.
    marks: OnceCell<Vec<u8>>,
}

/// The processes there are, at one moment.
pub struct Snapshot(Vec<Process>);

impl Snapshot {
    /// Read /proc. Costs about 0.1 ms a process.
    pub fn take() -> Self {
        let this = std::process::id() as i32;
        let names = fs::read_dir("/proc").into_iter().flatten().flatten().map(|entry| entry.file_name());
        let pids = names.filter_map(|name| name.to_str()?.parse().ok()).filter(|pid| *pid != this);
        Self(pids.filter_map(Process::read).collect())
    }

    /// The descendants of the command `leader` that are alive, itself among them.
    pub fn descendants(&self, leader: i32, mark: &str) -> Vec<i32> {
        let mut found: HashSet<i32> = HashSet::from([leader]);
        let mut open: Vec<&Process> = Vec::new();
        for process in &self.0 {
            if process.group == leader || process.session == leader || process.carries(mark) {
                found.insert(process.pid);
            } else {
                open.push(process);
            }
        }
        loop {
            let before = open.len();
            open.retain(|process| !(found.contains(&process.parent) && found.insert(process.pid)));
            if open.len() == before {
                break;
            }
        }
        self.0.iter().map(|process| process.pid).filter(|pid| found.contains(pid)).collect()
    }

    /// Whether the number still belongs to the process that had it at that moment.
    pub fn is_current(&self, pid: i32) -> bool {
        let then = self.0.iter().find(|process| process.pid == pid);
        Process::read(pid).is_some_and(|now| then.is_some_and(|then| then.started == now.started))
    }
}

impl Process {
    /// None if it is gone, or a zombie: signals still reach those, and nothing happens.
    fn read(pid: i32) -> Option<Self> {
        let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
        // The name stands in parentheses and may hold any character; the rest is what proc(5) lists from field 3 on.
        let rest = std::str::from_utf8(&stat[memchr::memrchr(b')', &stat)? + 1..]).ok()?;
        let mut fields = rest.split_ascii_whitespace();
        let state = fields.next()?;
        let mut number = || fields.next()?.parse::<i32>().ok();
        let (parent, group, session) = (number()?, number()?, number()?);
        // A first thread that ended while others run looks like a zombie: field 20 counts the threads.
        let threads: u32 = rest.split_ascii_whitespace().nth(17)?.parse().ok()?;
        let started = rest.split_ascii_whitespace().nth(19)?.parse().ok()?;
        let ended = state == "X" || (state == "Z" && threads <= 1);
        (!ended).then_some(Self { pid, started, parent, group, session, marks: OnceCell::new() })
    }

    fn carries(&self, mark: &str) -> bool {
        let marks = self.marks.get_or_init(|| {
            let environ = fs::read(format!("/proc/{}/environ", self.pid)).unwrap_or_default();
            let mut variables = environ.split(|byte| *byte == 0);
            let value = |variable: &[u8]| {
                let rest = variable.strip_prefix(MARK_VARIABLE.as_bytes())?;
                rest.strip_prefix(b"=").map(<[u8]>::to_vec)
            };
            variables.find_map(value).unwrap_or_default()
        });
        marks.split(|byte| *byte == b':').any(|one| one == mark.as_bytes())
    }
}

/// The peak resident memory of a process so far, in bytes.
pub fn peak_resident_memory(pid: i32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}
