//! What the model checker lacks.

use loom::cell::UnsafeCell;
use loom::sync::Mutex;
use loom::sync::atomic::{AtomicBool, Ordering};

/// As `std::sync::OnceLock`: who gets the value sees all that was done before it was set, and no more than that.
pub struct OnceLock<T> {
    setting: Mutex<()>,
    ready: AtomicBool,
    value: UnsafeCell<Option<T>>,
}

// SAFETY: the value is written once, before `ready` is, and only read after that was seen.
unsafe impl<T: Send + Sync> Sync for OnceLock<T> {}

impl<T> OnceLock<T> {
    pub fn new() -> Self {
        Self { setting: Mutex::new(()), ready: AtomicBool::new(false), value: UnsafeCell::new(None) }
    }

    pub fn get(&self) -> Option<&T> {
        if !self.ready.load(Ordering::Acquire) {
            return None;
        }
        // SAFETY: nobody writes it any more.
        self.value.with(|value| unsafe { (*value).as_ref() })
    }

    pub fn set(&self, value: T) -> Result<(), T> {
        let _setting = self.setting.lock().unwrap();
        if self.ready.load(Ordering::Relaxed) {
            return Err(value);
        }
        // SAFETY: nobody reads it yet, and `setting` keeps other writers out.
        self.value.with_mut(|place| unsafe { *place = Some(value) });
        self.ready.store(true, Ordering::Release);
        Ok(())
    }
}
