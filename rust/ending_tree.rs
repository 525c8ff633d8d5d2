//! One command's processes that are being ended: who they are, what they were sent, and when nothing is left.
//!
//! What only files of processes tell is read by others (see `reading_threads`): those may hang.

use std::collections::{HashMap, HashSet};
use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, kill_process, pidfd_open, pidfd_send_signal, waitid,
};
use rustix::time::{ClockId, clock_gettime};

use crate::cgroup::CommandGroup;
use crate::fork::ThreadsFd;
use crate::handle::{ProcessNote, Usage};
use crate::process_files::{Numbering, Stat, add_usage, is_shortage, number_in_proc, read_note};
use crate::process_group::{ProcessGroup, group_of, has_ended, session_of};
use crate::process_tree::{Command, Snapshot};
use crate::reading_threads::{ReadingThreads, Task};

/// How long killed processes may take to disappear. Longer means they hang in the kernel, where nothing helps.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often to look at processes that could not be opened, for want of descriptors.
pub const RECHECK: Duration = Duration::from_millis(20);
/// How long a signal may be put off to learn what the processes have used.
const SAMPLING: Duration = Duration::from_millis(50);
/// How long to wait for what is told of a process that is left.
const NOTING: Duration = Duration::from_millis(250);

/// A command whose processes have to end. Another one of the same command may come, and makes it end sooner.
pub struct Request {
    pub id: u64,
    pub leader: Pid,
    /// Refers to the leader whatever becomes of its number.
    pub pidfd: Arc<ThreadsFd>,
    /// None: its processes are known by their group, their session, their parents and their mark.
    pub cgroup: Option<Arc<CommandGroup>>,
    pub mark: Arc<str>,
    pub scope: Scope,
    pub kill_at: Instant,
}

/// What is known once a command's processes are gone, or nothing more can be done about them.
#[derive(Default)]
pub struct Gone {
    pub id: u64,
    pub left: Vec<ProcessNote>,
    pub unseen: Vec<ProcessNote>,
    /// What all members had used before they were signalled.
    pub usage: Usage,
}

/// What of a command has to end.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Everything that it has started.
    Tree,
    /// Who is in its process group.
    Group,
}

/// The processes of a command that are being ended.
pub struct EndingTree {
    pub id: u64,
    group: ProcessGroup,
    cgroup: Option<Arc<CommandGroup>>,
    mark: Arc<str>,
    scope: Scope,
    kill_at: Instant,
    stage: Stage,
    /// By the numbers that they can be signalled with: those that have been signalled and are still there. One without
    /// a descriptor could not be opened.
    members: HashMap<i32, Option<Arc<ThreadsFd>>>,
    /// Those that are not, without the leader.
    ended: Vec<Arc<ThreadsFd>>,
    signalled: Instant,
    /// Since when `members` is empty, or all are to be looked for anew.
    look_from: Instant,
    own_look: Look,
    walk: Look,
    /// Others may belong to the command than those who share its control group or session.
    needs_walk: bool,
    /// There is no way to see processes.
    is_blind: bool,
    /// Those that could not be looked at.
    unread: HashSet<i32>,
    samples: Vec<Arc<Sample>>,
}

enum Stage {
    /// Nothing has been signalled: what the processes use now is being read.
    Sampling {
        until: Instant,
    },
    /// `since`: in ticks of `Stat::started`.
    Terminating {
        since: u64,
        sampled_again: bool,
    },
    Killing,
    /// What is left, or could not be looked at, is being noted.
    Noting {
        until: Instant,
        notes: Arc<Mutex<HashMap<i32, ProcessNote>>>,
        left: Vec<i32>,
        asked: HashSet<i32>,
    },
}

/// When processes are looked for next, and whether that has shown that nobody is left.
#[derive(Default)]
struct Look {
    at: Option<Instant>,
    none_left: bool,
}

struct Sample {
    usage: Mutex<Usage>,
    /// How many members have not told yet.
    unread: AtomicUsize,
}

impl Sample {
    fn lock(&self) -> MutexGuard<'_, Usage> {
        self.usage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_done(&self) -> bool {
        self.unread.load(Ordering::Acquire) == 0
    }
}

impl EndingTree {
    pub fn new(request: Request, now: Instant) -> Self {
        let Request { id, leader, pidfd, cgroup, mark, scope, kill_at } = request;
        let group = ProcessGroup { leader, pidfd };
        let number = leader.as_raw_nonzero().get();
        let leader = (!group.leader_has_ended()).then(|| (number, Some(Arc::clone(&group.pidfd))));
        Self {
            id,
            group,
            needs_walk: scope == Scope::Tree && cgroup.is_none(),
            cgroup: cgroup.filter(|_| scope == Scope::Tree),
            mark,
            scope,
            kill_at,
            stage: Stage::Sampling { until: now + SAMPLING },
            members: leader.into_iter().collect(),
            ended: Vec::new(),
            signalled: now,
            look_from: now,
            own_look: Look::default(),
            walk: Look::default(),
            is_blind: false,
            unread: HashSet::new(),
            samples: Vec::new(),
        }
    }

    /// Another request for the same command has come.
    pub fn hasten(&mut self, request: Request, now: Instant) {
        self.kill_at = self.kill_at.min(request.kill_at);
        if self.scope == Scope::Group && request.scope == Scope::Tree {
            self.scope = Scope::Tree;
            self.needs_walk = request.cgroup.is_none();
            self.cgroup = request.cgroup;
            self.look_anew(now);
        }
    }

    /// The members that a descriptor refers to.
    pub fn opened(&self) -> impl Iterator<Item = (i32, &ThreadsFd)> {
        self.members.iter().filter_map(|(pid, fd)| Some((*pid, &**fd.as_ref()?)))
    }

    fn leader(&self) -> i32 {
        self.group.leader.as_raw_nonzero().get()
    }

    fn is_signalled(&self) -> bool {
        matches!(self.stage, Stage::Terminating { .. } | Stage::Killing)
    }

    pub fn is_reading(&self) -> bool {
        matches!(self.stage, Stage::Noting { .. }) || self.samples.iter().any(|sample| !sample.is_done())
    }

    pub fn own_look_at(&self) -> Option<Instant> {
        self.own_look.at.filter(|_| self.is_signalled())
    }

    pub fn walk_at(&self) -> Option<Instant> {
        self.walk.at.filter(|_| self.needs_walk && self.is_signalled())
    }

    /// `look_from`: when trees may be looked at again.
    pub fn next_deadline(&self, look_from: Instant) -> Instant {
        let stage = match self.stage {
            Stage::Sampling { until } | Stage::Noting { until, .. } => return until,
            Stage::Terminating { sampled_again: false, .. } => self.kill_at - SAMPLING,
            Stage::Terminating { .. } => self.kill_at,
            Stage::Killing => self.kill_at + PATIENCE,
        };
        self.own_look.at.map_or(stage, |at| stage.min(at.max(look_from)))
    }

    pub fn member_ended(&mut self, pid: i32) {
        let Some(fd) = self.members.remove(&pid) else { return };
        self.ended.extend(fd.filter(|_| pid != self.leader()));
        if self.members.is_empty() {
            self.look_anew(Instant::now());
        }
    }

    fn look_anew(&mut self, now: Instant) {
        self.look_from = now;
        self.own_look = Look { at: Some(now), none_left: false };
        self.walk = Look { at: Some(now), none_left: false };
    }

    /// Read what the members use now, before they are signalled.
    pub fn begin_sample(&mut self, threads: &mut ReadingThreads) {
        if self.scope == Scope::Group {
            return;
        }
        let pids: Vec<i32> = match Numbering::find() {
            Ok(Numbering::Ours) => self.members.keys().copied().collect(),
            Ok(Numbering::Outer(_)) => {
                (self.members.values().flatten()).filter_map(|fd| number_in_proc(fd.as_fd())).collect()
            }
            Err(_) => return,
        };
        let sample = Arc::new(Sample { usage: Mutex::default(), unread: AtomicUsize::new(pids.len()) });
        for pid in pids {
            let sample = Arc::clone(&sample);
            let read = move || {
                add_usage(pid, |change| change(&mut sample.lock()));
                sample.unread.fetch_sub(1, Ordering::Release);
            };
            threads.add_urgent(Task { pid, read: Box::new(read) });
        }
        self.samples.push(sample);
    }

    pub fn signal_when_due(&mut self, now: Instant, threads: &mut ReadingThreads) {
        let must_die = now >= self.kill_at;
        match &mut self.stage {
            Stage::Sampling { until } => {
                if now < *until && !self.samples.iter().all(|sample| sample.is_done()) {
                    return;
                }
                if must_die { self.kill(now) } else { self.terminate(now) }
            }
            Stage::Terminating { .. } if must_die => self.kill(now),
            Stage::Terminating { sampled_again, .. } if !*sampled_again && now + SAMPLING >= self.kill_at => {
                *sampled_again = true;
                self.begin_sample(threads);
            }
            Stage::Terminating { .. } | Stage::Killing | Stage::Noting { .. } => {}
        }
        // Those that came back may be the command's.
        if self.walk.at.is_none() && self.unread.iter().any(|pid| !threads.is_stuck_in(*pid)) {
            self.walk.at = Some(now);
        }
    }

    fn terminate(&mut self, now: Instant) {
        self.stage = Stage::Terminating { since: ticks_since_boot(), sampled_again: false };
        // Before the group is signalled: a leader that is just being made has none yet.
        let mut others: Vec<i32> = self.members.keys().copied().filter(|pid| !self.is_in_group(*pid)).collect();
        others.sort_unstable();
        self.group.signal(Signal::TERM);
        // A stopped process gets its signal only once it is continued.
        self.group.signal(Signal::CONT);
        for pid in others {
            self.send(pid);
        }
        self.signalled = now;
        self.walk.at = Some(now);
        if self.members.is_empty() {
            self.look_anew(now);
        }
    }

    fn kill(&mut self, now: Instant) {
        self.stage = Stage::Killing;
        self.group.signal(Signal::KILL);
        if let Some(cgroup) = &self.cgroup {
            let _ = cgroup.kill();
        }
        self.members.keys().for_each(|pid| self.send(*pid));
        self.signalled = now;
        self.look_anew(now);
    }

    fn is_in_group(&self, pid: i32) -> bool {
        group_of(pid) == Some(self.leader())
    }

    /// Signal a member as the stage demands.
    fn send(&self, pid: i32) {
        let Some(member) = self.members.get(&pid) else { return };
        let signals: &[Signal] =
            if matches!(self.stage, Stage::Killing) { &[Signal::KILL] } else { &[Signal::TERM, Signal::CONT] };
        for signal in signals {
            let _ = match (member, Pid::from_raw(pid)) {
                (Some(fd), _) => pidfd_send_signal(&**fd, *signal),
                (None, Some(pid)) => kill_process(pid, *signal),
                (None, None) => Ok(()),
            };
        }
    }

    /// Add those who share the control group or the session to the members, and signal them if the others have been.
    /// `sessions`: None if they are not known.
    pub fn open_new(&mut self, sessions: Option<&[(i32, i32)]>) -> io::Result<()> {
        let leader = self.leader();
        let is_of_session =
            |pid: i32| session_of(pid) == Some(leader) && (self.scope == Scope::Tree || self.is_in_group(pid));
        let of_session: Vec<i32> = match sessions {
            Some(sessions) if self.group.owns_number() => (sessions.iter())
                .filter(|(pid, session)| *session == leader && is_of_session(*pid))
                .map(|(pid, _)| *pid)
                .collect(),
            _ => Vec::new(),
        };
        let list_cgroup = || self.cgroup.as_ref().map_or(Ok(Vec::new()), |cgroup| cgroup.members());
        let of_cgroup = list_cgroup()?;
        let mut new: Vec<i32> = of_session.iter().chain(&of_cgroup).copied().collect();
        new.retain(|pid| !self.members.contains_key(pid));
        // Parents before their children.
        new.sort_unstable();
        new.dedup();
        let opened: Vec<(i32, Option<Arc<ThreadsFd>>)> =
            new.into_iter().filter_map(|pid| Some((pid, open(pid)?))).collect();
        if opened.is_empty() {
            return Ok(());
        }
        // A number may have become a stranger's before it was opened.
        let of_cgroup = list_cgroup()?;
        let owns_number = self.group.owns_number();
        let (moved, confirmed): (Vec<_>, Vec<_>) = (opened.into_iter())
            .filter(|(pid, _)| of_cgroup.contains(pid) || (owns_number && is_of_session(*pid)))
            .partition(|(pid, _)| self.cgroup.is_some() && !of_cgroup.contains(pid));
        // Who can leave the control group can have left others elsewhere.
        self.needs_walk |= !moved.is_empty();
        for (pid, fd) in confirmed.into_iter().chain(moved) {
            self.add(pid, fd);
        }
        Ok(())
    }

    fn add(&mut self, pid: i32, fd: Option<Arc<ThreadsFd>>) {
        self.members.insert(pid, fd);
        if self.is_signalled() {
            self.send(pid);
        }
    }

    pub fn look_at_own(&mut self, sessions: &io::Result<Vec<(i32, i32)>>, now: Instant) {
        self.reopen();
        if let Some(cgroup) =
            self.cgroup.as_ref().filter(|cgroup| matches!(self.stage, Stage::Killing) && !cgroup.is_spent())
        {
            // It could not be before, for want of a descriptor.
            let _ = cgroup.kill();
        }
        let looked = match sessions {
            Err(error) if self.cgroup.is_none() || is_shortage(error) => Err(error.kind()),
            sessions => self.open_new(sessions.as_deref().ok()).map_err(|error| error.kind()),
        };
        self.own_look.at = None;
        match looked {
            Ok(()) => {
                self.is_blind = false;
                self.own_look.none_left = self.members.is_empty();
                if self.members.values().any(Option::is_none) {
                    self.own_look.at = Some(now + RECHECK);
                }
            }
            // A walk sees them too.
            Err(io::ErrorKind::Unsupported) if self.needs_walk => {}
            Err(kind) => {
                self.is_blind = matches!(kind, io::ErrorKind::NotFound | io::ErrorKind::Unsupported);
                self.own_look.at = Some(now + RECHECK);
                // A request to terminate is made once, a kill until it is known to have worked.
                if matches!(self.stage, Stage::Killing) {
                    self.group.signal(Signal::KILL);
                }
            }
        }
    }

    /// Open those that could not be opened before.
    fn reopen(&mut self) {
        let unopened: Vec<i32> = self.members.iter().filter(|(_, fd)| fd.is_none()).map(|(pid, _)| *pid).collect();
        for pid in unopened {
            match open(pid) {
                Some(fd) => drop(self.members.insert(pid, fd)),
                None => self.member_ended(pid),
            }
        }
    }

    /// `began`: when the snapshot was begun.
    pub fn look_at_all(&mut self, snapshot: &Snapshot, began: Instant) {
        if self.walk_at().is_none() || self.signalled > began {
            return;
        }
        let verifies = self.members.is_empty() && self.look_from <= began;
        let leader = match snapshot.numbering {
            Numbering::Ours => Some(self.leader()).filter(|_| self.group.owns_number()),
            Numbering::Outer(_) => number_in_proc(self.group.pidfd.as_fd()),
        };
        let found = snapshot.descendants(&Command { leader, mark: &self.mark });
        self.unread = snapshot.unread.iter().copied().collect();
        for process in found {
            self.unread.remove(&process.stat.pid);
            if self.members.contains_key(&process.number)
                || (!verifies && self.has_been_signalled(&process.stat, leader))
            {
                continue;
            }
            let Some(fd) = open(process.number) else { continue };
            let is_same = match (&fd, snapshot.numbering) {
                (Some(fd), Numbering::Outer(_)) => number_in_proc(fd.as_fd()) == Some(process.stat.pid),
                _ => process.is_current(),
            };
            if is_same {
                self.add(process.number, fd);
            }
        }
        self.is_blind = false;
        if self.members.values().any(Option::is_none) {
            self.own_look.at = Some(Instant::now() + RECHECK);
        }
        self.walk.none_left = verifies && self.members.is_empty();
        if verifies || !self.members.is_empty() {
            self.walk.at = None;
        }
    }

    pub fn walk_failed(&mut self, error: &io::Error, again: Instant) {
        if self.walk_at().is_some() {
            self.is_blind = !is_shortage(error);
            self.walk.at = Some(again).filter(|_| !self.is_blind);
        }
    }

    /// Whether a process got its signal with its group, or was started by one that did, to clean up.
    fn has_been_signalled(&self, process: &Stat, leader: Option<i32>) -> bool {
        match self.stage {
            Stage::Terminating { since, .. } => Some(process.group) == leader || process.started >= since,
            _ => false,
        }
    }

    /// Whether nobody is left, or nothing more can be done.
    pub fn is_over(&self, now: Instant) -> bool {
        let nobody_seen = if self.needs_walk { self.walk.none_left } else { self.own_look.none_left };
        let is_killing = matches!(self.stage, Stage::Killing);
        let nobody_known = self.is_blind && (is_killing || !self.group.remains());
        self.is_signalled()
            && (now >= self.kill_at + PATIENCE || (self.members.is_empty() && (nobody_seen || nobody_known)))
    }

    /// Have it told what those are doing that are left, and those that could not be looked at.
    pub fn begin_notes(&mut self, now: Instant, threads: &mut ReadingThreads, hung: &HashMap<i32, ProcessNote>) {
        let mut left: Vec<i32> = self.members.keys().copied().collect();
        left.sort_unstable();
        let known = self.unread.iter().filter_map(|pid| hung.get_key_value(pid));
        let notes: HashMap<i32, ProcessNote> = known.map(|(pid, note)| (*pid, note.clone())).collect();
        let asked: HashSet<i32> =
            left.iter().chain(&self.unread).copied().filter(|pid| !notes.contains_key(pid)).collect();
        let notes = Arc::new(Mutex::new(notes));
        for pid in &asked {
            let (pid, notes) = (*pid, Arc::clone(&notes));
            let read = move || {
                let note = read_note(pid);
                notes.lock().unwrap_or_else(PoisonError::into_inner).insert(pid, note);
            };
            threads.add_urgent(Task { pid, read: Box::new(read) });
        }
        self.stage = Stage::Noting { until: now + NOTING, notes, left, asked };
    }

    pub fn is_noted(&self, now: Instant) -> bool {
        let Stage::Noting { until, notes, asked, .. } = &self.stage else { return false };
        let notes = notes.lock().unwrap_or_else(PoisonError::into_inner);
        now >= *until || asked.iter().all(|pid| notes.contains_key(pid))
    }

    pub fn conclude(self) -> Gone {
        // The first process of a container adopts whoever has lost his parent, and would keep them as zombies.
        for fd in &self.ended {
            // Refused unless it is a child of ours.
            let _ = waitid(WaitId::PidFd(fd.as_fd()), WaitIdOptions::EXITED | WaitIdOptions::NOHANG);
        }
        let usage =
            self.samples.iter().map(|sample| std::mem::take(&mut *sample.lock())).fold(Usage::default(), Usage::joined);
        let mut gone = Gone { id: self.id, usage, ..Gone::default() };
        if let Stage::Noting { notes, left, .. } = self.stage {
            let notes = notes.lock().unwrap_or_else(PoisonError::into_inner);
            let note = |pid: i32| notes.get(&pid).cloned().unwrap_or_else(|| ProcessNote::silent(pid));
            gone.left = left.into_iter().map(note).collect();
            gone.unseen = self.unread.into_iter().map(note).collect();
            gone.unseen.sort_unstable_by_key(|note| note.pid);
        }
        gone
    }
}

/// A descriptor of a living process, or None within if there is none left to have; None if it has ended.
fn open(pid: i32) -> Option<Option<Arc<ThreadsFd>>> {
    match pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()) {
        Ok(fd) if has_ended(&fd) => None,
        Ok(fd) => Some(Some(Arc::new(ThreadsFd::new(fd)))),
        // Not the first thread of a process, or gone.
        Err(Errno::SRCH | Errno::INVAL | Errno::NOENT) => None,
        Err(_) => Some(None),
    }
}

/// The time as `Stat::started` has it.
fn ticks_since_boot() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    let per_second = rustix::param::clock_ticks_per_second();
    now.tv_sec as u64 * per_second + now.tv_nsec as u64 * per_second / 1_000_000_000
}
