//! A wake for which the model checker can wait.

use loom::sync::{Condvar, Mutex};

/// A flag that is readable while it is set.
pub struct Wake {
    set: Mutex<bool>,
    changed: Condvar,
}

impl Wake {
    pub fn new() -> std::io::Result<Self> {
        Ok(Self { set: Mutex::new(false), changed: Condvar::new() })
    }

    pub fn set(&self) {
        *self.set.lock().unwrap() = true;
        self.changed.notify_all();
    }

    pub fn reset(&self) {
        *self.set.lock().unwrap() = false;
    }

    /// As a poll of the descriptor; a wake that never comes is a deadlock, which the checker reports.
    pub fn wait(&self) {
        let mut set = self.set.lock().unwrap();
        while !*set {
            set = self.changed.wait(set).unwrap();
        }
    }
}
