//! Memory that the consumer lends, so that output which is kept is read straight into what its result will be.

use std::sync::PoisonError;

use crate::mapping::Mapping;
use crate::sync::Mutex;

/// What passes between the reader and the consumer of one stream. It holds nobody up: reading goes on elsewhere.
#[derive(Default)]
pub struct Loan(Mutex<State>);

#[derive(Default)]
enum State {
    #[default]
    Nothing,
    /// So many bytes.
    Wanted(usize),
    Lent(Mapping),
}

impl Loan {
    pub fn ask(&self, size: usize) {
        self.replace(State::Wanted(size));
    }

    /// How many bytes the consumer is to lend; told once.
    pub fn wanted(&self) -> Option<usize> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let State::Wanted(size) = *state else { return None };
        *state = State::Nothing;
        Some(size)
    }

    pub fn lend(&self, memory: Mapping) {
        self.replace(State::Lent(memory));
    }

    pub fn take(&self) -> Option<Mapping> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match std::mem::take(&mut *state) {
            State::Lent(memory) => Some(memory),
            other => {
                *state = other;
                None
            }
        }
    }

    fn replace(&self, new: State) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = new;
    }
}
