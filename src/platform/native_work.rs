//! Native side of work beside the GPU's: threads for many small pieces, and room on the disk for what memory has none for.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread::{available_parallelism, scope};

/// Most threads at a time: each holds what it works on in memory.
const THREADS: usize = 4;

/// Does `work` for each number below `count`, in any order, several at a time. `heard` has each result on this thread, and
/// says whether to go on.
pub fn in_parallel<T: Send>(count: usize, work: &(dyn Fn(usize) -> T + Sync), heard: &mut dyn FnMut(usize, T) -> bool) {
    let threads = available_parallelism().map_or(1, usize::from).min(THREADS).min(count);
    let next = AtomicUsize::new(0);
    let (send, receive) = sync_channel(threads);
    scope(|scope| {
        for _ in 0..threads {
            let (send, next) = (send.clone(), &next);
            scope.spawn(move || {
                loop {
                    let i = next.fetch_add(1, Ordering::Relaxed);
                    // Nobody hears any more: what is left is left.
                    if i >= count || send.send((i, work(i))).is_err() {
                        break;
                    }
                }
            });
        }
        drop(send);
        let receive = receive;
        while let Ok((i, result)) = receive.recv() {
            if !heard(i, result) {
                break;
            }
        }
    });
}

/// Does `work` for the numbers in their order, on another thread and one ahead of `heard`, which says whether to go on.
pub fn in_order<T: Send>(
    numbers: &[usize],
    work: &(dyn Fn(usize) -> T + Sync),
    heard: &mut dyn FnMut(usize, T) -> bool,
) {
    let (send, receive) = sync_channel(1);
    scope(|scope| {
        scope.spawn(move || {
            // Until nobody hears any more.
            let _ = numbers.iter().try_for_each(|i| send.send((*i, work(*i))));
        });
        let receive = receive;
        while let Ok((i, result)) = receive.recv() {
            if !heard(i, result) {
                break;
            }
        }
    });
}

/// A file without a name, which the system removes with the program, however it ends.
#[derive(Debug)]
pub struct Scratch {
    file: File,
    len: u64,
}

impl Scratch {
    /// In the system's folder for temporary files.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn new() -> io::Result<Self> {
        Ok(Self { file: tempfile::tempfile()?, len: 0 })
    }

    /// Keeps bytes; gives where they are.
    ///
    /// # Errors
    /// When the disk is full.
    pub fn keep(&mut self, bytes: &[u8]) -> io::Result<u64> {
        let at = self.len;
        self.replace(at, bytes)?;
        self.len += bytes.len() as u64;
        Ok(at)
    }

    /// Other bytes in the place of as many.
    ///
    /// # Errors
    /// When the disk is full or gone.
    pub fn replace(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(at))?;
        self.file.write_all(bytes)
    }

    /// So many bytes from there.
    ///
    /// # Errors
    /// When the disk is gone.
    pub fn get(&mut self, at: u64, len: usize) -> io::Result<Vec<u8>> {
        self.file.seek(SeekFrom::Start(at))?;
        let mut bytes = vec![0; len];
        self.file.read_exact(&mut bytes)?;
        Ok(bytes)
    }
}
