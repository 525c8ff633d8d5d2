//! The native core of tailrace: it runs commands, reads their pipes and waits for their exits.

mod capture;
mod delivery;
mod engine;
mod fork;
mod handle;
mod io_thread;
mod lines;
mod mailbox;
mod new_process;
mod open_files_limit;
mod output_queue;
mod pipe_memory;
mod process_tree;
mod python;
mod running_command;
mod segment;
mod signal_mask;
mod spawn;
mod spill;
mod terminator;
mod utf8;
mod watchdog;
