//! The thread that looks at those which may hang in the kernel, while there are commands.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Something that may hang, and can be helped.
pub trait Supervised: Send {
    /// Have another take over what hangs; returns how soon to look again.
    fn look(&mut self, now: Instant) -> Duration;
}

/// How many commands there are, from the order on until their results.
#[derive(Default)]
pub struct Activity {
    commands: Mutex<usize>,
    began: Condvar,
}

/// Stands for one command.
pub struct Busy(Arc<Activity>);

impl Activity {
    pub fn begin(self: &Arc<Self>) -> Busy {
        let mut commands = self.lock();
        *commands += 1;
        if *commands == 1 {
            self.began.notify_one();
        }
        Busy(Arc::clone(self))
    }

    fn wait(&self) {
        let mut commands = self.lock();
        while *commands == 0 {
            commands = self.began.wait(commands).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, usize> {
        self.commands.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        *self.0.lock() -= 1;
    }
}

/// Look for ever at all there is to look at.
pub fn run(activity: &Activity, mut supervised: Vec<Box<dyn Supervised>>) {
    loop {
        activity.wait();
        let now = Instant::now();
        let next = supervised.iter_mut().map(|one| one.look(now)).min();
        std::thread::sleep(next.unwrap_or(Duration::from_secs(1)));
    }
}
