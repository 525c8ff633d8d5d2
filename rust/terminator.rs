//! Ending whole process trees: terminate, wait a while, kill, until nothing is left.
//!
//! This runs on a thread of its own, and one look at the processes serves all commands that are being ended. That
//! thread reads nothing that could hang: the group of a command, its control group and its session are signalled
//! without that; what only files of processes tell is read by others (see `reading_threads`).

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::ending_tree::{EndingTree, Gone, RECHECK, Request};
use crate::fork::ThreadsFd;
use crate::handle::ProcessNote;
use crate::mailbox::Mailbox;
use crate::process_files::{Numbering, is_shortage};
use crate::process_group::has_ended;
use crate::process_tree::{KnownMarks, Walk, sessions};
use crate::reading_threads::{CHECK, ReadingThreads};

pub struct Terminator {
    requests: Arc<Mailbox<Request>>,
    threads: ReadingThreads,
    trees: Vec<EndingTree>,
    walk: Option<Walk>,
    /// From the last look, while there are trees.
    known_marks: Arc<KnownMarks>,
    own_pace: Pace,
    walk_pace: Pace,
    /// What was told of processes whose files hang.
    hung: HashMap<i32, ProcessNote>,
    /// Given up to look at processes when this process has no other descriptor left.
    reserve: Option<File>,
}

/// Looks for many commands take no more than a tenth of the time, but for a few at the beginning; one command waits for
/// nothing.
struct Pace {
    paid_at: Instant,
}

impl Pace {
    const MAX_REST: usize = 10;
    const CREDIT: Duration = Duration::from_millis(250);

    fn next(&self) -> Instant {
        self.paid_at - Self::CREDIT
    }

    fn looked(&mut self, began: Instant, commands: usize) {
        let now = Instant::now();
        let rest = commands.saturating_sub(1).min(Self::MAX_REST) as u32;
        // No longer, or nobody would be found for a while after a look that was held up.
        self.paid_at = self.paid_at.max(now) + ((now - began) * rest).min(Self::CREDIT);
    }
}

impl Terminator {
    pub fn new(requests: Arc<Mailbox<Request>>) -> io::Result<Self> {
        let now = Instant::now();
        Ok(Self {
            requests,
            threads: ReadingThreads::new()?,
            trees: Vec::new(),
            walk: None,
            known_marks: Arc::default(),
            own_pace: Pace { paid_at: now },
            walk_pace: Pace { paid_at: now },
            hung: HashMap::new(),
            reserve: None,
        })
    }

    /// Serve requests for ever; `gone` is told of each command that is dealt with.
    pub fn run(mut self, gone: impl Fn(Gone)) {
        loop {
            self.reserve = self.reserve.take().or_else(|| File::open("/dev/null").ok());
            self.wait();
            let now = Instant::now();
            self.threads.look(now);
            self.hung.retain(|pid, _| self.threads.is_stuck_in(*pid));
            self.take_requests(now);
            for tree in &mut self.trees {
                tree.signal_when_due(now, &mut self.threads);
            }
            self.look_at_own(now);
            self.look_at_all(now);
            self.conclude(now, &gone);
        }
    }

    /// Wait until there is a request, a member has ended, files have been read, or something is due.
    fn wait(&mut self) {
        let now = Instant::now();
        let deadline = self.next_deadline(now);
        let timeout = deadline.map(|deadline| to_timespec(deadline.saturating_duration_since(now)));
        let members: Vec<(usize, i32, &ThreadsFd)> = (self.trees.iter().enumerate())
            .flat_map(|(index, tree)| tree.opened().map(move |(pid, fd)| (index, pid, fd)))
            .collect();
        let mut polled: Vec<_> = members.iter().map(|(_, _, fd)| PollFd::new(*fd, PollFlags::IN)).collect();
        polled.push(PollFd::new(&*self.requests, PollFlags::IN));
        polled.push(PollFd::new(&self.threads, PollFlags::IN));
        let is_over: Vec<(usize, i32)> = match poll(&mut polled, timeout.as_ref()) {
            Ok(_) => (members.iter().zip(&polled))
                .filter(|(_, polled)| !polled.revents().is_empty())
                .map(|((index, pid, _), _)| (*index, *pid))
                .collect(),
            Err(_) => {
                // More descriptors than this process may have open now, or no memory: ask for each.
                std::thread::sleep(RECHECK);
                members.iter().filter(|(_, _, fd)| has_ended(fd)).map(|(index, pid, _)| (*index, *pid)).collect()
            }
        };
        self.threads.reset();
        for (index, pid) in is_over {
            self.trees[index].member_ended(pid);
        }
    }

    fn next_deadline(&self, now: Instant) -> Option<Instant> {
        let mut next = self.trees.iter().map(|tree| tree.next_deadline(self.own_pace.next())).min();
        let wants_walk = self.trees.iter().filter_map(|tree| tree.walk_at()).min();
        if self.walk.is_none() {
            next = next.into_iter().chain(wants_walk.map(|at| at.max(self.walk_pace.next()))).min();
        }
        let is_reading = self.walk.is_some() || self.trees.iter().any(EndingTree::is_reading);
        next.into_iter().chain(is_reading.then_some(now + CHECK)).min()
    }

    fn take_requests(&mut self, now: Instant) {
        let known = self.trees.len();
        for request in self.requests.take() {
            match self.trees.iter_mut().find(|tree| tree.id == request.id) {
                Some(tree) => tree.hasten(request, now),
                None => self.trees.push(EndingTree::new(request, now)),
            }
        }
        if self.trees.len() == known {
            return;
        }
        let sessions = self.sessions().ok();
        for tree in &mut self.trees[known..] {
            // Without descriptors the group is signalled all the same.
            let _ = tree.open_new(sessions.as_deref());
            tree.begin_sample(&mut self.threads);
        }
    }

    /// `Unsupported`: the numbers in /proc are not those of this process.
    fn sessions(&mut self) -> io::Result<Vec<(i32, i32)>> {
        if Numbering::find()? != Numbering::Ours {
            return Err(io::ErrorKind::Unsupported.into());
        }
        sessions().or_else(|error| {
            self.reserve = None;
            if is_shortage(&error) { sessions() } else { Err(error) }
        })
    }

    /// Look at who shares a command's control group or session.
    fn look_at_own(&mut self, now: Instant) {
        let due = |tree: &EndingTree| tree.own_look_at().is_some_and(|at| at <= now);
        if self.own_pace.next() > now || !self.trees.iter().any(due) {
            return;
        }
        let sessions = self.sessions();
        for tree in self.trees.iter_mut().filter(|tree| due(tree)) {
            tree.look_at_own(&sessions, now);
        }
        self.own_pace.looked(now, self.trees.len());
    }

    /// Look at all processes, for those that only their files tell of.
    fn look_at_all(&mut self, now: Instant) {
        let due = |tree: &EndingTree| tree.walk_at().is_some_and(|at| at <= now);
        if self.walk.is_none() {
            if self.walk_pace.next() > now || !self.trees.iter().any(due) {
                return;
            }
            match Walk::begin(&mut self.threads, Arc::clone(&self.known_marks)) {
                Ok(walk) => self.walk = Some(walk),
                Err(error) => return self.walk_failed(&error, now),
            }
        }
        let Some(mut walk) = self.walk.take() else { return };
        match walk.advance(&mut self.threads) {
            Ok(false) => self.walk = Some(walk),
            Ok(true) => {
                let began = walk.began;
                let snapshot = walk.finish();
                self.known_marks = Arc::new(snapshot.marks());
                self.walk_pace.looked(began, self.trees.len());
                for tree in &mut self.trees {
                    tree.look_at_all(&snapshot, began);
                }
            }
            Err(error) => self.walk_failed(&error, now),
        }
    }

    fn walk_failed(&mut self, error: &io::Error, now: Instant) {
        let again = if self.reserve.take().is_some() { now } else { now + RECHECK };
        for tree in &mut self.trees {
            tree.walk_failed(error, again);
        }
    }

    /// Hand over what there is nothing more to be done about.
    fn conclude(&mut self, now: Instant, gone: &impl Fn(Gone)) {
        for tree in &mut self.trees {
            if tree.is_over(now) {
                tree.begin_notes(now, &mut self.threads, &self.hung);
            }
        }
        for tree in self.trees.extract_if(.., |tree| tree.is_noted(now)) {
            let told = tree.conclude();
            for note in &told.unseen {
                if self.threads.is_stuck_in(note.pid) {
                    self.hung.insert(note.pid, note.clone());
                }
            }
            gone(told);
        }
        if self.trees.is_empty() {
            self.known_marks = Arc::default();
        }
    }
}

fn to_timespec(duration: Duration) -> Timespec {
    Timespec { tv_sec: duration.as_secs() as i64, tv_nsec: i64::from(duration.subsec_nanos()) }
}
