//! What threads share state with: the standard library's types, or with `--cfg loom` those of a model checker that
//! tries the orders in which threads can meet; see docs/checking.md.

#[cfg(loom)]
pub use loom::sync::{Arc, Mutex, MutexGuard, atomic};
#[cfg(not(loom))]
pub use std::sync::{Arc, Mutex, MutexGuard, OnceLock, atomic};

#[cfg(loom)]
pub use crate::model::OnceLock;
