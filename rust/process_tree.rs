//! Finding everything that a command has started.
//!
//! A descendant shares the command's process group or session, descends from it by parentage, or carries the
//! command's mark in its environment: a daemon that called setsid and lost its parent is found by the mark alone.
//! What empties its environment as well (`env -i setsid`) is out of reach.

use std::collections::HashSet;
use std::time::Duration;
use std::{fs, io};

use rustix::io::Errno;

/// The variable that holds the marks of the commands a process descends from, separated by colons.
pub const MARK_VARIABLE: &str = "TAILRACE_COMMAND";

struct Process {
    pid: i32,
    /// In clock ticks since the machine started: tells it from a later process of the same number.
    started: u64,
    parent: i32,
    group: i32,
    session: i32,
    /// A zombie: signals still reach it, and nothing happens.
    ended: bool,
    /// The value of `MARK_VARIABLE` in its environment; empty without one.
    marks: Vec<u8>,
}

/// How often to look whether processes were missed. More than that would be somebody who never stops forking.
const MAX_ROUNDS: usize = 100;
/// Linux's flag for a thread of the kernel's own (PF_KTHREAD).
const KERNEL_THREAD: u32 = 0x0020_0000;
/// How often to ask for the environment of a program that is just being loaded, which has none yet.
const LOADING_CHECK: Duration = Duration::from_micros(100);
/// How long that may take.
const LOADING: Duration = Duration::from_millis(5);

/// The processes there are, at one moment.
pub struct Snapshot(Vec<Process>);

/// A command whose processes are looked for.
pub struct Command<'a> {
    pub leader: i32,
    /// When the leader started; None if it has been collected, so that its number may be a stranger's by now.
    pub started: Option<u64>,
    pub mark: &'a str,
}

impl Snapshot {
    /// Read /proc. Costs about 0.1 ms a process. An error says that it could not be read, for example for want of
    /// descriptors: then nothing is known. `NotFound`: there is none that shows processes.
    pub fn take() -> io::Result<Self> {
        fs::metadata("/proc/self/stat")?;
        let mut seen = HashSet::from([std::process::id() as i32]);
        let mut processes = Vec::new();
        for _ in 0..MAX_ROUNDS {
            let new: Vec<i32> = all_pids()?.into_iter().filter(|pid| seen.insert(*pid)).collect();
            // What was forked by one that is not there any more is there by now. If there is nobody new, each that could
            // still fork was seen alive.
            if new.is_empty() {
                break;
            }
            for pid in new {
                processes.extend(Process::read(pid)?);
            }
        }
        Ok(Self(processes))
    }

    /// When the process of this number started, if there is one.
    pub fn started(&self, pid: i32) -> Option<u64> {
        self.0.iter().find(|process| process.pid == pid).map(|process| process.started)
    }

    /// The living processes of the command's group.
    pub fn group(&self, command: &Command) -> Vec<i32> {
        if self.is_a_strangers(command) {
            return Vec::new();
        }
        let group = self.0.iter().filter(|process| process.group == command.leader && !process.ended);
        group.map(|process| process.pid).collect()
    }

    /// The living descendants of the command, itself among them.
    pub fn descendants(&self, command: &Command) -> Vec<i32> {
        // A number is not given away while a group or a session has it: who shares it belongs to the command, unless
        // there is a process of that number which is another one.
        let leader = (!self.is_a_strangers(command)).then_some(command.leader);
        let shares = |number: i32| Some(number) == leader;
        let mut found: HashSet<i32> = leader.into_iter().collect();
        let mut open: Vec<&Process> = Vec::new();
        for process in &self.0 {
            if shares(process.group) || shares(process.session) || process.carries(command.mark) {
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
        let alive = self.0.iter().filter(|process| !process.ended && found.contains(&process.pid));
        alive.map(|process| process.pid).collect()
    }

    /// Whether the number still belongs to the process that had it at that moment.
    pub fn is_current(&self, pid: i32) -> bool {
        let now = Process::read_stat(pid).ok().flatten();
        now.is_some_and(|(now, _)| self.started(pid) == Some(now.started))
    }

    fn is_a_strangers(&self, command: &Command) -> bool {
        self.started(command.leader).is_some_and(|started| Some(started) != command.started)
    }
}

impl Process {
    /// None if it is gone.
    fn read(pid: i32) -> io::Result<Option<Self>> {
        let mut waited = Duration::ZERO;
        loop {
            let Some((mut process, may_be_loading)) = Self::read_stat(pid)? else { return Ok(None) };
            let environ = match fs::read(format!("/proc/{pid}/environ")) {
                Err(error) if is_shortage(&error) => return Err(error),
                environ => environ,
            };
            if may_be_loading && environ.as_ref().is_ok_and(Vec::is_empty) && waited < LOADING {
                std::thread::sleep(LOADING_CHECK);
                waited += LOADING_CHECK;
                continue;
            }
            process.marks = marks_in(&environ.unwrap_or_default());
            return Ok(Some(process));
        }
    }

    fn read_stat(pid: i32) -> io::Result<Option<(Self, bool)>> {
        match fs::read(format!("/proc/{pid}/stat")) {
            Ok(stat) => Ok(Self::parse(pid, &stat)),
            Err(error) if is_shortage(&error) => Err(error),
            Err(_) => Ok(None),
        }
    }

    /// Also returns whether its program may just be being loaded, so that it has no environment yet.
    fn parse(pid: i32, stat: &[u8]) -> Option<(Self, bool)> {
        // The name stands in parentheses and may hold any character; the rest is what proc(5) lists from field 3 on.
        let rest = std::str::from_utf8(&stat[memchr::memrchr(b')', stat)? + 1..]).ok()?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        let field = |number: usize| fields.get(number - 3).copied();
        let number = |place: usize| field(place)?.parse::<i32>().ok();
        let state = field(3)?;
        let flags: u32 = field(9)?.parse().ok()?;
        // A first thread that ended while others run looks like a zombie.
        let threads = number(20)?;
        let ended = state == "X" || (state == "Z" && threads <= 1);
        let process = Self {
            pid,
            started: field(22)?.parse().ok()?,
            parent: number(4)?,
            group: number(5)?,
            session: number(6)?,
            ended,
            marks: Vec::new(),
        };
        // The end of the environment in its memory.
        let may_be_loading = !ended && flags & KERNEL_THREAD == 0 && field(51) == Some("0");
        Some((process, may_be_loading))
    }

    fn carries(&self, mark: &str) -> bool {
        self.marks.split(|byte| *byte == b':').any(|one| one == mark.as_bytes())
    }
}

fn all_pids() -> io::Result<Vec<i32>> {
    let mut pids = Vec::new();
    for entry in fs::read_dir("/proc")? {
        pids.extend(entry?.file_name().to_str().and_then(|name| name.parse::<i32>().ok()));
    }
    Ok(pids)
}

fn marks_in(environ: &[u8]) -> Vec<u8> {
    let mut variables = environ.split(|byte| *byte == 0);
    let value = |variable: &[u8]| {
        let rest = variable.strip_prefix(MARK_VARIABLE.as_bytes())?;
        rest.strip_prefix(b"=").map(<[u8]>::to_vec)
    };
    variables.find_map(value).unwrap_or_default()
}

/// Whether reading failed for a reason that says nothing about what was to be read.
fn is_shortage(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM))
}
