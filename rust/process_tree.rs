//! Finding everything that a command has started.
//!
//! A descendant shares the command's process group or session, descends from it by parentage, or carries the
//! command's mark in its environment: a daemon that called setsid and lost its parent is found by the mark alone.
//! What empties its environment as well (`env -i setsid`) is out of reach.

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use crate::process_files::{Numbering, Stat, all_pids};
use crate::process_group::session_of;
use crate::reading_threads::{ReadingThreads, Task};

/// How often to look whether processes were missed. More than that would be somebody who never stops forking.
const MAX_ROUNDS: usize = 100;

/// The session of each process. Costs less than a microsecond a process, and reads no file of any.
pub fn sessions() -> io::Result<Vec<(i32, i32)>> {
    Ok(all_pids()?.into_iter().filter_map(|pid| Some((pid, session_of(pid)?))).collect())
}

/// When each process of an earlier look started, and its marks: nobody else's descendant gets them later.
pub type KnownMarks = HashMap<i32, (u64, Vec<u8>)>;

/// A look at all processes that is under way. Costs about 0.1 ms a process.
pub struct Walk {
    pub began: Instant,
    answers: Arc<Mutex<Vec<Answer>>>,
    known_marks: Arc<KnownMarks>,
    awaited: HashSet<i32>,
    known: HashSet<i32>,
    rounds: usize,
    snapshot: Snapshot,
}

/// The processes there are, by the numbers that /proc has for them.
pub struct Snapshot {
    pub numbering: Numbering,
    processes: HashMap<i32, Process>,
    /// Those whose marks could not be had.
    pub unread: HashSet<i32>,
}

pub struct Process {
    pub stat: Stat,
    /// The number that it can be signalled with.
    pub number: i32,
    marks: Vec<u8>,
}

enum Answer {
    /// Without its marks at first: no more than that may come.
    Seen(Process),
    Marks(i32, Vec<u8>),
    Gone(i32),
    Failed(io::Error),
}

/// A command whose processes are looked for.
pub struct Command<'a> {
    /// Its number, where that still stands for its group and session.
    pub leader: Option<i32>,
    pub mark: &'a str,
}

impl Walk {
    /// `NotFound`: there is no /proc that shows processes.
    pub fn begin(threads: &mut ReadingThreads, known_marks: Arc<KnownMarks>) -> io::Result<Self> {
        let snapshot = Snapshot { numbering: Numbering::find()?, processes: HashMap::new(), unread: HashSet::new() };
        let mut walk = Self {
            began: Instant::now(),
            answers: Arc::default(),
            known_marks,
            awaited: HashSet::new(),
            known: HashSet::new(),
            rounds: 0,
            snapshot,
        };
        walk.ask_for_new(threads)?;
        Ok(walk)
    }

    /// Go on as far as answers have come; true at the end. An error says that processes could not be read, for example
    /// for want of descriptors: then nothing is known.
    pub fn advance(&mut self, threads: &mut ReadingThreads) -> io::Result<bool> {
        self.take_answers()?;
        if threads.are_lost() {
            threads.forget_the_rest();
            self.snapshot.unread.extend(self.awaited.drain());
        }
        let stuck = threads.stuck_in().filter(|pid| self.awaited.remove(pid));
        self.snapshot.unread.extend(stuck);
        if !self.awaited.is_empty() {
            return Ok(false);
        }
        // What was forked by one that is not there any more is there by now. If there is nobody new, each that could
        // still fork was seen alive.
        Ok(self.rounds == MAX_ROUNDS || !self.ask_for_new(threads)?)
    }

    pub fn finish(self) -> Snapshot {
        self.snapshot
    }

    fn take_answers(&mut self) -> io::Result<()> {
        let answers = std::mem::take(&mut *self.answers.lock().unwrap_or_else(PoisonError::into_inner));
        for answer in answers {
            let (pid, marks) = match answer {
                Answer::Seen(process) => {
                    self.snapshot.processes.insert(process.stat.pid, process);
                    continue;
                }
                Answer::Marks(pid, marks) => (pid, marks),
                Answer::Gone(pid) => (pid, Vec::new()),
                Answer::Failed(error) => return Err(error),
            };
            self.awaited.remove(&pid);
            self.snapshot.unread.remove(&pid);
            if let Some(process) = self.snapshot.processes.get_mut(&pid) {
                process.marks = marks;
            }
        }
        Ok(())
    }

    /// False if there are none that have not been asked for.
    fn ask_for_new(&mut self, threads: &mut ReadingThreads) -> io::Result<bool> {
        self.rounds += 1;
        let mut new = all_pids()?;
        new.retain(|pid| self.known.insert(*pid));
        let is_any = !new.is_empty();
        let (stuck, new): (Vec<i32>, Vec<i32>) = new.into_iter().partition(|pid| threads.is_stuck_in(*pid));
        self.snapshot.unread.extend(stuck);
        self.awaited.extend(&new);
        let numbering = self.snapshot.numbering;
        threads.add(new.into_iter().map(|pid| {
            let answers = Arc::clone(&self.answers);
            let answer = move |answer| answers.lock().unwrap_or_else(PoisonError::into_inner).push(answer);
            let known = Arc::clone(&self.known_marks);
            Task { pid, read: Box::new(move || read(pid, numbering, &known, answer)) }
        }));
        Ok(is_any)
    }
}

fn read(pid: i32, numbering: Numbering, known: &KnownMarks, answer: impl Fn(Answer)) {
    let stat = match Stat::read(pid) {
        Ok(Some(stat)) => stat,
        Ok(None) => return answer(Answer::Gone(pid)),
        Err(error) => return answer(Answer::Failed(error)),
    };
    let Some(number) = numbering.ours(pid) else { return answer(Answer::Gone(pid)) };
    answer(Answer::Seen(Process { stat: stat.clone(), number, marks: Vec::new() }));
    if let Some((_, marks)) = known.get(&pid).filter(|(started, _)| *started == stat.started) {
        return answer(Answer::Marks(pid, marks.clone()));
    }
    answer(stat.read_marks().map_or_else(Answer::Failed, |marks| Answer::Marks(pid, marks)));
}

impl Snapshot {
    pub fn marks(&self) -> KnownMarks {
        let known = self.processes.values().filter(|process| !self.unread.contains(&process.stat.pid));
        (known.filter(|process| !process.stat.may_be_loading))
            .map(|process| (process.stat.pid, (process.stat.started, process.marks.clone())))
            .collect()
    }

    /// The living descendants of the command, itself among them, parents before their children.
    pub fn descendants(&self, command: &Command) -> Vec<&Process> {
        let shares = |number: i32| Some(number) == command.leader;
        let mut found: HashSet<i32> = command.leader.into_iter().collect();
        let mut open: Vec<&Process> = Vec::new();
        for process in self.processes.values() {
            if shares(process.stat.group) || shares(process.stat.session) || process.carries(command.mark) {
                found.insert(process.stat.pid);
            } else {
                open.push(process);
            }
        }
        loop {
            let before = open.len();
            open.retain(|process| !(found.contains(&process.stat.parent) && found.insert(process.stat.pid)));
            if open.len() == before {
                break;
            }
        }
        let alive = self.processes.values().filter(|process| !process.stat.ended && found.contains(&process.stat.pid));
        let mut alive: Vec<&Process> = alive.collect();
        alive.sort_unstable_by_key(|process| process.stat.pid);
        alive
    }
}

impl Process {
    /// Whether the number still belongs to the process that had it at that moment.
    pub fn is_current(&self) -> bool {
        let now = Stat::read(self.stat.pid).ok().flatten();
        now.is_some_and(|now| now.started == self.stat.started)
    }

    fn carries(&self, mark: &str) -> bool {
        self.marks.split(|byte| *byte == b':').any(|one| one == mark.as_bytes())
    }
}
