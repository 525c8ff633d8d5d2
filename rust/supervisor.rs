//! The thread that looks at those which may hang in the kernel, while there are commands.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Something that may hang, and can be helped.
pub trait Supervised: Send {
    /// Have another take over what hangs; returns how soon to look again.
    fn look(&mut self, now: Instant) -> Duration;
}

#[derive(Default)]
pub struct Supervisor {
    supervised: Mutex<Vec<Box<dyn Supervised>>>,
    /// How many commands there are, from the order on until their results.
    commands: Mutex<usize>,
    began: Condvar,
}

/// Stands for one command.
pub struct Busy(Arc<Supervisor>);

impl Supervisor {
    pub fn add(&self, supervised: impl Supervised + 'static) {
        self.supervised.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(supervised));
    }

    pub fn begin(self: &Arc<Self>) -> Busy {
        let mut commands = self.commands();
        *commands += 1;
        if *commands == 1 {
            self.began.notify_one();
        }
        Busy(Arc::clone(self))
    }

    /// Look for ever at all there is to look at.
    pub fn run(&self) {
        loop {
            self.wait_for_commands();
            let now = Instant::now();
            let mut supervised = self.supervised.lock().unwrap_or_else(PoisonError::into_inner);
            let next = supervised.iter_mut().map(|one| one.look(now)).min();
            drop(supervised);
            std::thread::sleep(next.unwrap_or(Duration::from_secs(1)));
        }
    }

    fn wait_for_commands(&self) {
        let mut commands = self.commands();
        while *commands == 0 {
            commands = self.began.wait(commands).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn commands(&self) -> MutexGuard<'_, usize> {
        self.commands.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clone for Busy {
    fn clone(&self) -> Self {
        self.0.begin()
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        *self.0.commands() -= 1;
    }
}
