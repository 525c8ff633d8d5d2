//! The thread that looks at what the running commands use, now and then.
//!
//! It reads files that may hang, so another takes over when it does, and leaves the process alone in whose file the
//! first one is.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use crate::call_watch::Observer;
use crate::cgroup::CommandGroup;
use crate::handle::Handle;
use crate::memory_watch::MemoryWatch;
use crate::signal_mask::thread;
use crate::start::Order;
use crate::supervisor::Supervised;
use crate::tree_usage::{WatchedTree, cpu_time};
use crate::watched_reader::{Lost, WatchedReader};

/// When a command is looked at: so soon after its start, then so long after the last look, and from then on each time.
const INTERVALS: [Duration; 3] = [Duration::from_millis(50), Duration::from_millis(150), Duration::from_millis(500)];
/// Looks that become due within this time are made together: waking up costs as much as one.
const PAUSE: Duration = Duration::from_millis(50);
/// Looks take at most one part in so many of a core,
const SHARE: u32 = 300;
/// and if they find nothing new, as in a thousand commands that wait, less.
const QUIET_SHARE: u32 = 600;

/// How long a call may take that does not run.
const PATIENCE: Duration = Duration::from_millis(200);
const CHECK_INTERVAL: Duration = Duration::from_millis(250);
/// How many threads may be left behind.
const MOST_LOST: usize = 32;

#[derive(Default)]
pub struct UsageSampler {
    state: Mutex<State>,
    began: Condvar,
    memory: Arc<MemoryWatch>,
}

#[derive(Default)]
struct State {
    /// By when the next look is due, and the command's number.
    due: BTreeMap<(Instant, u64), Weak<WatchedTree>>,
    /// There was no command to wait for.
    is_idle: bool,
    /// Of the thread whose turn it is.
    reader: Option<Arc<WatchedReader>>,
    /// The processes in whose files threads were left behind.
    hung: Vec<i32>,
}

/// What a thread is to look at next.
struct Turn {
    tree: Arc<WatchedTree>,
    hung: Vec<i32>,
    commands: u32,
}

impl UsageSampler {
    pub fn start(self: &Arc<Self>) -> io::Result<()> {
        let sampler = Arc::clone(self);
        thread("tailrace-usage", move || {
            let reader = WatchedReader::of_this_thread();
            sampler.lock().reader = Some(Arc::clone(&reader));
            while sampler.look_at_all_due(&reader).is_ok() {}
            let left_in = reader.left_in.load(Ordering::Relaxed);
            let mut state = sampler.lock();
            if let Some(at) = state.hung.iter().position(|hung| *hung == left_in) {
                state.hung.swap_remove(at);
            }
        })
    }

    /// Look at a command from now on, for as long as what is returned is kept.
    pub fn watch(
        &self,
        leader: i32,
        cgroup: Option<Arc<CommandGroup>>,
        handle: Arc<Handle>,
        order: &Order,
    ) -> Arc<WatchedTree> {
        let id = handle.id;
        let tree = Arc::new(WatchedTree::new(leader, cgroup, handle, order, Arc::clone(&self.memory)));
        let mut state = self.lock();
        state.due.insert((Instant::now() + INTERVALS[0], id), Arc::downgrade(&tree));
        if std::mem::take(&mut state.is_idle) {
            self.began.notify_all();
        }
        tree
    }

    fn look_at_all_due(&self, reader: &WatchedReader) -> Result<(), Lost> {
        self.wait_for_commands();
        self.look_at_memory(reader)?;
        let mut rest = Duration::ZERO;
        while rest < PAUSE
            && let Some(Turn { tree, hung, commands }) = self.next()
        {
            let began = cpu_time();
            let effort = tree.look(reader, &hung, commands)?;
            let took = (cpu_time() - began).saturating_sub(effort.weighing);
            rest += took * if effort.was_quiet { QUIET_SHARE } else { SHARE };
        }
        std::thread::sleep(rest.max(PAUSE));
        Ok(())
    }

    fn wait_for_commands(&self) {
        let mut state = self.lock();
        while state.due.is_empty() {
            state.is_idle = true;
            state = self.began.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn look_at_memory(&self, reader: &WatchedReader) -> Result<(), Lost> {
        let now = Instant::now();
        if self.memory.is_due(now) {
            let hung = self.lock().hung.clone();
            self.memory.look(now, reader, &hung)?;
        }
        Ok(())
    }

    /// None if none is due.
    fn next(&self) -> Option<Turn> {
        let mut state = self.lock();
        loop {
            let entry = state.due.first_entry()?;
            let (at, id) = *entry.key();
            let now = Instant::now();
            if at > now {
                return None;
            }
            let Some(tree) = entry.remove().upgrade() else { continue };
            // Now, so that another thread finds it if this one does not come back.
            let looks = usize::try_from(tree.count_look()).unwrap_or(usize::MAX);
            let interval = INTERVALS[looks.saturating_add(1).min(2)];
            state.due.insert((now + interval, id), Arc::downgrade(&tree));
            let commands = u32::try_from(state.due.len()).unwrap_or(u32::MAX);
            return Some(Turn { tree, hung: state.hung.clone(), commands });
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Has another thread take over from one that hangs.
pub struct SamplerRescue {
    sampler: Arc<UsageSampler>,
    observed: Option<(Arc<WatchedReader>, Observer)>,
}

impl SamplerRescue {
    pub fn new(sampler: Arc<UsageSampler>) -> Self {
        Self { sampler, observed: None }
    }
}

impl Supervised for SamplerRescue {
    fn look(&mut self, now: Instant) -> Duration {
        let current = self.sampler.lock().reader.clone();
        let is_same = matches!((&self.observed, &current), (Some((one, _)), Some(other)) if Arc::ptr_eq(one, other));
        if !is_same {
            self.observed = current.map(|reader| (Arc::clone(&reader), Observer::new(Arc::clone(&reader.watch))));
        }
        let Some((reader, observer)) = &mut self.observed else { return CHECK_INTERVAL };
        if !observer.inside_for(now).is_some_and(|inside| inside >= PATIENCE && observer.sleeps(inside)) {
            return CHECK_INTERVAL;
        }
        let mut state = self.sampler.lock();
        if state.hung.len() < MOST_LOST {
            let process = reader.process.load(Ordering::Relaxed);
            reader.left_in.store(process, Ordering::Release);
            state.hung.push(process);
            state.reader = None;
            drop(state);
            // Should there be no thread to be had, nothing is looked at any more.
            let _ = self.sampler.start();
        }
        CHECK_INTERVAL
    }
}
